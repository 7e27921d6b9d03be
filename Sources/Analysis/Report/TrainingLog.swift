public import Foundation
import RunKit

/// The log of a training run: what stands in `log.jsonl`, as series over steps.
public struct TrainingLog: Sendable {
  /// One figure over the steps it was logged at.
  struct Series: Sendable, Equatable {
    let tag: String
    var steps: [Int] = []
    var values: [Double] = []
  }

  /// What happened to a layer's heads at the end of a pass over the data.
  struct Rotation: Sendable, Equatable {
    let step: Int
    let layer: Int
    var outcomes: [String: Int] = [:]
    var imbalances: [Double] = []
    var angles: [Double] = []
  }

  /// config.json.
  let configuration: JSONValue
  /// Figures of training steps, in the order of their first line.
  private(set) var training: [Series] = []
  /// Figures of evaluations.
  private(set) var validation: [Series] = []
  /// Steps whose evaluation was the best so far.
  private(set) var bestSteps: [Int] = []
  /// Rotations of queries, by step and layer.
  private(set) var rotations: [Rotation] = []
  /// The last step that was logged.
  public private(set) var lastStep = 0

  static let logName = "log.jsonl"
  /// The name of the report in the run folder.
  public static let reportName = "report.html"
  /// Commands whose runs have such a log.
  static let commands = ["train", "finetune"]

  /// Whether a run folder is of a command that trains.
  public static func isOne(_ run: URL) throws -> Bool {
    let configuration = try AttentionRunFiles.configuration(of: run).json
    return configuration["command"]?.stringValue.map(commands.contains) ?? false
  }

  /// Reads the log of a run folder.
  ///
  /// - Throws: `FileError`, `AttentionRecordError`, errors of lines.
  public init(_ run: URL) throws {
    configuration = try AttentionRunFiles.configuration(of: run).json
    let file = run.appendingPathComponent(Self.logName)
    var (training, validation) = (SeriesTable(), SeriesTable())
    let reader = try JSONLinesReader(file)
    while let line = try reader.next() {
      guard let object = line.value.objectValue, let step = line.value["step"]?.intValue else {
        throw AttentionRecordError.wrongValue(
          place: RecordPlace(file: file.path, line: line.number), key: "step",
          found: line.value["step"]?.text() ?? "missing", expected: "a whole number")
      }
      lastStep = max(lastStep, step)
      if let figures = line.value["validation"]?.objectValue {
        validation.add(figures, at: step)
        if line.value["best"]?.boolValue == true { bestSteps.append(step) }
      } else if line.value["event"]?.stringValue != nil {
        note(line.value, at: step)
      } else {
        training.add(object, at: step)
      }
    }
    (self.training, self.validation) = (training.series, validation.series)
  }

  private mutating func note(_ event: JSONValue, at step: Int) {
    guard let layer = event["layer"]?.intValue, let outcome = event["outcome"]?.stringValue else { return }
    if rotations.last.map({ $0.step != step || $0.layer != layer }) ?? true {
      rotations.append(Rotation(step: step, layer: layer))
    }
    rotations[rotations.count - 1].outcomes[outcome, default: 0] += 1
    if let value = event["imbalance"]?.doubleValue {
      rotations[rotations.count - 1].imbalances.append(value)
    }
    if outcome == "rotated", let angle = event["angle"]?.doubleValue {
      rotations[rotations.count - 1].angles.append(angle)
    }
  }

  func series(_ tag: String) -> Series? { training.first { $0.tag == tag } }
}

/// Series by tag in the order of their first value.
private struct SeriesTable {
  private(set) var series: [TrainingLog.Series] = []
  private var places: [String: Int] = [:]

  mutating func add(_ figures: JSONObject, at step: Int) {
    for (tag, value) in figures.members where tag != "step" && tag != "epoch" {
      guard let number = value.doubleValue, number.isFinite else { continue }
      let place = places[tag] ?? series.count
      if place == series.count {
        places[tag] = place
        series.append(TrainingLog.Series(tag: tag))
      }
      series[place].steps.append(step)
      series[place].values.append(number)
    }
  }
}
