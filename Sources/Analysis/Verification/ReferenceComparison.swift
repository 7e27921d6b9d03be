import RunKit
public import TensorCore
public import TokenModel

/// Every output of a reference file against what this program computes from its inputs, element by element.
///
/// Only real rows are compared (`attention_mask` 1): what stands at padded rows is an artefact of whoever wrote it.
public struct ReferenceComparison: Sendable {
  /// The largest differences that pass.
  public struct Tolerance: Sendable, Equatable {
    /// For hidden states and logits, absolute.
    public var values = 1e-4
    /// For attention probabilities, absolute.
    public var attention = 2e-5

    /// Differences of 1e-4, and 2e-5 for probabilities: what float32 in another order of summation leaves.
    public init() {}
  }

  /// One compared tensor.
  public struct Row: Sendable, Equatable {
    /// The name in the reference file.
    public let name: String
    /// How many elements were compared.
    public let elementCount: Int
    /// The largest absolute difference; NaN if one was not a number, nil if nothing could be compared.
    public let largestDifference: Double?
    /// The largest difference that passes.
    public let tolerance: Double
    /// Why nothing could be compared.
    public let problem: String?

    /// Whether it passed; NaN does not.
    public var passed: Bool { largestDifference.map { $0 <= tolerance } ?? false }
  }

  /// A tensor that was not compared.
  public struct Leftover: Sendable, Equatable {
    /// The name in the reference file.
    public let name: String
    /// Why not.
    public let reason: String
  }

  /// The compared tensors, ordered by case.
  public private(set) var rows: [Row] = []
  /// The others.
  public let notCompared: [Leftover]

  /// Whether something was compared and everything passed.
  public var passed: Bool { !rows.isEmpty && rows.allSatisfy(\.passed) }
  /// Elements compared in all.
  public var elementCount: Int { rows.reduce(0) { $0 + $1.elementCount } }

  /// Runs the model on every case of the file.
  ///
  /// - Throws: `TraceError`, `PromptError`, `StoredTensorError` where inputs do not fit the model.
  public init(
    _ reference: SafetensorsFile, model: any LanguageModel, tolerance: Tolerance = Tolerance()
  ) throws {
    let file = try ReferenceFile(reference.tensors, model: model)
    notCompared = file.leftovers.map { Leftover(name: $0.name, reason: $0.reason) }
    for group in file.cases {
      let inputs = try TraceInputs(
        group.inputs, path: reference.path, model: model, mayLeaveMedia: group.sharesMedia)
      var names: [String] = []
      for output in group.outputs where !names.contains(output.capture) { names.append(output.capture) }
      let traced = try Trace(model, names: names).run(inputs)
      let mask = try traced.first { $0.name == "attention_mask" }?.integers()
      for output in group.outputs {
        guard let ours = traced.first(where: { $0.name == output.capture }) else { continue }
        let isAttention = output.capture.split(separator: ".").suffix(2).first == "attention"
        let isOfTower = inputs.rows.isEmpty
        rows.append(
          try Self.compare(
            output, with: ours, mask: isOfTower ? nil : mask, isAttention: isAttention, isOfTower: isOfTower,
            tolerance: isAttention ? tolerance.attention : tolerance.values))
      }
    }
  }

  private static let maskedLogit: Float = -1e8

  private static func compare(
    _ output: ReferenceFile.Output, with ours: StoredTensor, mask: [Int]?, isAttention: Bool,
    isOfTower: Bool, tolerance: Double
  ) throws -> Row {
    let expectedShape = output.tensor.shape
    // Rows of a tower may lie in a batch or one after another.
    let isSameRows =
      isOfTower && !isAttention && expectedShape.last == ours.shape.last
      && expectedShape.reduce(1, *) == ours.elementCount
    guard expectedShape == ours.shape || [1] + expectedShape == ours.shape || isSameRows else {
      return Row(
        name: output.name, elementCount: 0, largestDifference: nil, tolerance: tolerance,
        problem: "shape \(expectedShape), computed \(ours.shape)")
    }
    let (expected, values) = (try output.tensor.doubles(), try ours.floats())
    // [batch, rows, columns], or [batch, heads, rows, keys].
    let rowCount = ours.shape[isAttention ? 2 : 1]
    let columns = ours.shape[isAttention ? 3 : 2]
    let heads = isAttention ? ours.shape[1] : 1
    var (largest, count) = (0.0, 0)
    for index in values.indices {
      let row = index / columns % rowCount
      let sequence = index / columns / rowCount / heads
      if let mask, mask[sequence * rowCount + row] == 0 { continue }
      // Ids that are never predicted have a number far below any logit, which programs choose as they like.
      let isMasked = values[index] < Self.maskedLogit && expected[index] < Double(Self.maskedLogit)
      let difference = isMasked ? 0 : abs(Double(values[index]) - expected[index])
      // NaN is not above anything: once found, it stays.
      if !(difference <= largest) && !largest.isNaN { largest = difference }
      count += 1
    }
    return Row(
      name: output.name, elementCount: count, largestDifference: count > 0 ? largest : nil,
      tolerance: tolerance,
      problem: count > 0 ? nil : "no real row")
  }
}
