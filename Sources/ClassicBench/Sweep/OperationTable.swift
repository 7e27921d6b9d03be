public import RunKit

/// What trainings cost in nominal operations, by method and by stage, beside joint training.
public struct OperationTable: Sendable {
  /// The methods of a stage.
  struct Stage: Equatable, Sendable {
    let stage: MethodStage
    let methods: Int
    /// The sum over methods of their means over seeds.
    let operations: Double
    /// The mean over methods of their multiples of joint; nil without joint.
    let ratio: Double?
  }

  private let means: [String: Double]
  private let joint: Double?
  /// In the order of stages; only those with a method.
  let stages: [Stage]

  /// - Parameter runs: The results of every method, in order.
  init?(_ runs: [(label: String, results: [BenchResult])]) {
    let known = runs.compactMap { run -> (label: String, method: String, mean: Double)? in
      guard let mean = Self.mean(run.results), let method = run.results.first?.method else { return nil }
      return (run.label, method, mean)
    }
    if known.isEmpty { return nil }
    means = Dictionary(known.map { ($0.label, $0.mean) }, uniquingKeysWith: { first, _ in first })
    let joint = known.first { $0.method == Joint.id }?.mean
    self.joint = joint
    stages = MethodStage.allCases.compactMap { stage in
      let own = known.filter { MethodCatalog.stage($0.method) == stage }.map(\.mean)
      if own.isEmpty { return nil }
      let sum = own.reduce(0, +)
      let ratio = joint.map { sum / $0 / Double(own.count) }
      return Stage(stage: stage, methods: own.count, operations: sum, ratio: ratio)
    }
  }

  /// The mean over seeds of the operations of a training; nil where no run knows them.
  static func mean(_ results: [BenchResult]) -> Double? {
    let totals = results.compactMap { $0.operations.map { Double($0.total) } }
    return totals.isEmpty ? nil : totals.reduce(0, +) / Double(totals.count)
  }

  /// Operations of a method as a multiple of joint's; nil where one of them is not known.
  func ratio(_ label: String) -> Double? {
    guard let joint, joint > 0, let mean = means[label] else { return nil }
    return mean / joint
  }

  static let titles = ["Gop", "x joint"]

  /// Billions of operations, and the multiple of joint.
  static func cells(_ operations: Double?, ratio: Double?) -> [String] {
    [
      operations.map { Decimals.text($0 / 1e9, places: 1) } ?? PrintedTable.nothing,
      ratio.map { Decimals.text($0, places: 2) } ?? PrintedTable.nothing,
    ]
  }

  /// What the columns are.
  static let note =
    "Gop: 10⁹ nominal operations of a training (matrix products, convolutions and attention; an addition and a "
    + "multiplication are two), with teachers, further passes and solo trainings; x joint: in multiples of joint's"

  /// A row for each stage.
  public var printed: PrintedTable {
    PrintedTable(
      titles: ["stage", "methods", "Gop", "x joint each"],
      rows: stages.map { stage in
        [stage.stage.rawValue, "\(stage.methods)"]
          + Self.cells(stage.operations, ratio: stage.ratio)
      },
      notes: [
        "Gop: the sum over the methods of a stage; x joint each: the mean of their multiples of joint's"
      ])
  }

  /// The same for programs.
  public var json: JSONValue {
    .array(
      stages.map { stage in
        [
          "stage": .string(stage.stage.rawValue), "methods": .integer(stage.methods),
          "operations": .number(stage.operations), "mean_ratio": JSONValue(stage.ratio),
        ]
      })
  }
}
