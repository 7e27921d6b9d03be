import Foundation
import PEFT
import RunKit
import TensorCore
import TokenModel

/// What `mmprobe finetune` says before its first step.
struct FinetuneReport {
  let task: FinetuneTask
  let rebalancing: FinetuneOptions.Rebalancing?
  let survey: FinetuneData.Survey
  /// Records in all.
  let records: Int
  let use: FinetuneTask.MediaUse
  let trial: FinetuneTask.Trial
  let steps: Int

  private var trained: Int { task.parts.reduce(0) { $0 + $1.trained } }
  private var total: Int { task.parts.reduce(0) { $0 + $1.total } }
  /// Both moments of AdamW and the gradients beside what the trial needed.
  var peakBytes: Int { trial.peakBytes + 2 * 4 * trained }
  private var seconds: Double { Double(steps) * trial.seconds }

  /// The lines of the report.
  var lines: [String] {
    let share = 100 * Double(trained) / Double(max(1, total))
    var lines = [
      "trainable  \(Support.grouped(trained)) of \(Support.grouped(total)) (\(Decimals.text(share, places: 3)) %)"
    ]
    for part in task.parts {
      let rate = part.trained > 0 ? "rate \(Support.scientific(part.learningRate))" : "frozen"
      lines.append(
        "  \(part.part.rawValue.padded(to: 9))  \(Support.grouped(part.trained)) of \(Support.grouped(part.total)), \(rate)"
      )
    }
    if let plan = task.plan {
      let ranks = Set(plan.modules.map(\.rank)).sorted().map(String.init).joined(separator: ", ")
      let kind = plan.configuration.moka.map { moka in
        "MokA \(moka.preset?.rawValue ?? "") for " + moka.modalities.map(\.rawValue).joined(separator: ", ")
      }
      lines.append(
        "  \(kind ?? "LoRA") of rank \(ranks) around \(Support.counted(plan.modules.count, "layer"))")
    }
    if let rebalancing {
      lines.append(
        "rebalance  RollingQ in \(rebalancing.layers.count == 1 ? "layer" : "layers") "
          + Set(rebalancing.layers).sorted().map(String.init).joined(separator: ", ") + " between "
          + rebalancing.modalities.map(\.rawValue).joined(separator: " and ")
          + ", after every \(Support.counted(task.stepsPerEpoch, "step"))")
    }
    let read = survey.count < records ? ", \(Support.grouped(survey.count)) of them read" : ""
    let mean = survey.count == 0 ? "" : Self.means(survey)
    lines.append(
      "data       \(Support.counted(records, "record"))\(read): \(Support.grouped(survey.withMedia)) with media, "
        + "\(Support.grouped(survey.count - survey.withMedia)) without\(mean)")
    lines.append("media used \(useText)")
    let available = MachineFacts.availableMemory.map { ", \(ByteCount.text($0)) available" } ?? ""
    lines.append("memory     about \(ByteCount.text(peakBytes))\(available)")
    lines.append(
      "time       about \(Decimals.text(seconds, places: 1)) s: \(Support.counted(steps, "step")) of "
        + "\(Decimals.text(trial.seconds, places: 2)) s with \(Support.counted(Workers.threadCount, "thread")), evaluations aside"
    )
    return lines
  }

  private static func means(_ survey: FinetuneData.Survey) -> String {
    let media = survey.positions.filter { Role.media.contains($0.key) }.reduce(0) { $0 + $1.value }
    let all = survey.positions.reduce(0) { $0 + $1.value }
    return
      (survey.examples > survey.count ? ", \(Support.grouped(survey.examples)) answers" : "")
      + "; mean \(media / survey.examples) media tokens + \((all - media) / survey.examples) text tokens, "
      + "longest \(survey.longest), \(survey.labels / survey.examples) with loss"
  }

  private var useText: String {
    guard use.count > 0 else { return "not tried: no record with media" }
    let change = use.blankLoss - use.loss
    return (use.areUsed ? "yes" : "NO")
      + ": the loss of \(Support.counted(use.count, "record")) changes from \(Decimals.text(use.loss, places: 4)) to "
      + "\(Decimals.text(use.blankLoss, places: 4)) (\(change < 0 ? "" : "+")\(Decimals.text(change, places: 4))) when media are blanked, "
      + "by \(Support.scientific(use.largestChange)) at most"
  }

  /// What should make a user look twice.
  var warnings: [String] {
    var warnings: [String] = []
    if use.count > 0 && !use.areUsed {
      warnings.append("blanked media do not change the loss at all: the media do not reach the answers")
    }
    if survey.count > 0 && survey.withMedia == 0 && !task.parts.isEmpty {
      warnings.append("none of the records read has media")
    }
    if let rebalancing, survey.count(withAll: rebalancing.modalities) == 0 {
      warnings.append(
        "none of the records read has \(rebalancing.modalities.map(\.rawValue).joined(separator: " and ")) together: "
          + "without such records nothing is rotated")
    }
    if let available = MachineFacts.availableMemory, peakBytes > available + ProcessMemory.current.resident {
      warnings.append(
        "more memory may be needed than there is; try --activation-checkpointing or a smaller --batch")
    }
    return warnings
  }

  /// The report for a program.
  var json: JSONValue {
    let parts = task.parts.map { part -> JSONValue in
      [
        "part": .string(part.part.rawValue), "trainable": .integer(part.trained),
        "parameters": .integer(part.total),
        "learning_rate": part.trained > 0 ? .number(part.learningRate) : .null,
      ]
    }
    let roles = Role.allCases.compactMap { role in
      survey.positions[role].map { (role.rawValue, JSONValue.integer($0)) }
    }
    return [
      "trainable": .integer(trained), "parameters": .integer(total), "parts": .array(parts),
      "layers": task.plan.map { .array($0.modules.map { .string($0.site.moduleName) }) } ?? .null,
      "rebalance": rebalancing?.json ?? .null,
      "records": .integer(records), "records_read": .integer(survey.count),
      "records_with_media": .integer(survey.withMedia), "answers": .integer(survey.examples),
      "tokens": .object(JSONObject(roles)),
      "labels": .integer(survey.labels), "longest": .integer(survey.longest),
      "media_used": [
        "records": .integer(use.count), "loss": .number(use.loss), "blank_loss": .number(use.blankLoss),
        "largest_change": .number(use.largestChange), "used": .bool(use.areUsed),
      ],
      "steps": .integer(steps), "step_s": .number(trial.seconds), "seconds": .number(seconds),
      "peak_rss_bytes": .integer(peakBytes), "loss": .number(trial.loss),
      "warnings": .array(warnings.map(JSONValue.string)),
    ]
  }
}

extension String {
  /// With spaces up to a width.
  fileprivate func padded(to width: Int) -> String {
    self + String(repeating: " ", count: max(0, width - count))
  }
}
