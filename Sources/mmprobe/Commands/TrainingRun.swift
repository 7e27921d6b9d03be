import RunKit
import TensorCore

/// A training as `train` and `finetune` show it: progress while it runs, what it cost in the run's record, and how to go on
/// after an interrupt.
struct TrainingRun {
  let driver: StepDriver
  let folder: RunFolder
  /// Steps of the whole training.
  let total: Int
  /// The folder as the user named it.
  let output: String
  /// A validation figure as text.
  let text: (Double) -> String

  /// What a run came to.
  enum Ending {
    /// Everything is done and written; the last step of this process, if it made one.
    case complete(StepDriver.Progress?)
    /// An interrupt stopped it; it is saved and can be resumed.
    case stopped
  }

  /// Says where a resumed run stands.
  func noteResumption(_ console: Console) {
    console.note("resuming \(output): \(driver.step) of \(total) steps done, settings match")
  }

  /// Trains to the end or to an interrupt, and closes the run folder.
  func run(_ session: Session) throws -> Ending {
    let console = session.console
    var progress = console.progress(total: total, alreadyDone: driver.step, unit: "step")
    var latest: StepDriver.Progress?
    let outcome = try driver.run { state in
      latest = state
      if let metric = state.metrics.first {
        progress?.note(
          "step \(state.step): validation \(metric.tag) \(text(metric.value))"
            + (driver.best?.step == state.step ? ", the best so far" : ""))
      }
      progress?.update(done: state.step, detail: Self.detail(state))
    }
    progress?.finish(done: driver.step, detail: latest.map(Self.detail) ?? "")
    if case .stopped(let steps) = outcome {
      try folder.finish(.stopped, notes: notes)
      console.note(
        "stopped after \(Support.counted(steps, "step")); go on with:\n  \(Support.resumeLine(session.commandLine))"
      )
      return .stopped
    }
    try Support.writeTrainingReport(folder)
    try folder.finish(.complete, notes: notes)
    return .complete(latest)
  }

  private var notes: JSONObject {
    let report = driver.report
    return JSONObject([
      (
        "cost",
        [
          "steps": .integer(report.steps), "tokens": .integer(report.tokens),
          "step_s": .number(report.stepSeconds), "evaluation_s": .number(report.evaluationSeconds),
          "other_s": .number(report.otherSeconds), "cpu_s": .number(ProcessFacts.processorSeconds),
          "tokens_per_s": .number(Double(report.tokens) / max(report.stepSeconds, 1e-9)),
          "peak_rss_bytes": .integer(ProcessMemory.current.peakResident),
        ]
      )
    ])
  }

  private static func detail(_ state: StepDriver.Progress) -> String {
    "loss \(Decimals.text(state.loss, places: 4))  \(Support.grouped(Int(state.tokensPerSecond))) tokens/s"
  }
}
