public import RunKit
public import TensorCore

/// Why raw inputs cannot be run.
public enum TraceError: DescribedError {
  case missingInput(path: String, name: String)
  case wrongShape(path: String, name: String, found: [Int], expected: String)
  case wrongType(path: String, name: String, found: String, expected: String)
  case wrongValue(path: String, name: String, found: String, expected: String)
  case unknownInput(path: String, name: String, known: [String])
  case badMask(path: String, row: Int)
  case positionsWithMedia(path: String)
  case negativePosition(path: String, row: Int, found: Int)
  case unknownCapture(name: String, nearest: String?)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case missingInput = "trace_missing_input"
    case wrongShape = "trace_wrong_shape"
    case wrongType = "trace_wrong_type"
    case wrongValue = "trace_wrong_value"
    case unknownInput = "trace_unknown_input"
    case badMask = "trace_bad_mask"
    case positionsWithMedia = "trace_positions_with_media"
    case negativePosition = "trace_negative_position"
    case unknownCapture = "trace_unknown_capture"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .missingInput: .missingInput
    case .wrongShape: .wrongShape
    case .wrongType: .wrongType
    case .wrongValue: .wrongValue
    case .unknownInput: .unknownInput
    case .badMask: .badMask
    case .positionsWithMedia: .positionsWithMedia
    case .negativePosition: .negativePosition
    case .unknownCapture: .unknownCapture
    }
  }

  /// The exit status a command ends with.
  public var exitStatus: ExitStatus { code == .unknownCapture ? .usage : .data }

  /// The file concerned, if there is one.
  public var path: String? {
    switch self {
    case .missingInput(let path, _), .wrongShape(let path, _, _, _), .wrongType(let path, _, _, _),
      .wrongValue(let path, _, _, _), .unknownInput(let path, _, _),
      .badMask(let path, _), .positionsWithMedia(let path), .negativePosition(let path, _, _):
      path
    case .unknownCapture: nil
    }
  }

  /// What was wrong, where, and what was expected.
  public var errorDescription: String? {
    switch self {
    case .missingInput(let path, let name): "\(path): no tensor \"\(name)\""
    case .wrongShape(let path, let name, let found, let expected):
      "\(path): \"\(name)\" has shape \(found.prefix(16)), expected \(expected)"
    case .wrongType(let path, let name, let found, let expected):
      "\(path): \"\(name)\" has elements of type \(found), expected \(expected)"
    case .wrongValue(let path, let name, let found, let expected):
      "\(path): \"\(name)\" holds \(found), expected \(expected)"
    case .unknownInput(let path, let name, let known):
      "\(path): the tensor \(name.inQuotes) is no input of this model (inputs: \(known.joined(separator: ", ")))"
    case .badMask(let path, let row):
      "\(path): row \(row) of \"attention_mask\" must hold 0 and 1 and at least one 1"
    case .positionsWithMedia(let path):
      "\(path): \"position_ids\" cannot be given where placeholders are replaced by several rows"
    case .negativePosition(let path, let row, let found):
      "\(path): row \(row) of \"position_ids\" holds \(found), expected 0 or above"
    case .unknownCapture(let name, let nearest):
      "no tensor is called \(name.inQuotes)" + (nearest.map { ". Did you mean \"\($0)\"?" } ?? "")
    }
  }

  /// What to do about it.
  public var recoverySuggestion: String? {
    switch self {
    case .missingInput, .wrongShape, .wrongType, .wrongValue, .unknownInput:
      "write the tensors with the names transformers gives its inputs, input_ids as int64 [batch, tokens]"
    case .badMask: "use 1 for tokens and 0 for padding"
    case .positionsWithMedia: "leave position_ids out: expanded rows are at 0, 1, 2, …"
    case .negativePosition: "positions count from 0"
    case .unknownCapture: "'mmprobe trace --help' lists the names"
    }
  }
}

/// Raw model inputs with the names of Hugging Face: the door at which padded batches become ragged ones.
public struct TraceInputs: Sendable {
  /// One sequence of the batch without its padding.
  public struct Row: Sendable {
    /// Ids with one placeholder for each medium, or for each row of a medium.
    public let ids: [Int]
    /// Places of the ids in the padded row.
    public let places: [Int]
    /// Given positions of the ids; nil for the default.
    public let positions: RowPositions?
  }

  /// The sequences; none where only media are given, to be run through their tower.
  public let rows: [Row]
  /// The padded length before expansion.
  public let width: Int
  /// The media in the order of their placeholders over the whole batch, one modality after another.
  public let media: [Medium]
  /// Whether media may be left over.
  public let mayLeaveMedia: Bool
  /// Where the inputs come from, for messages.
  public let path: String

  /// The inputs that every family takes.
  public static let textInputs = ["input_ids", "attention_mask", "position_ids"]

  /// Takes the inputs out of named tensors.
  ///
  /// - Parameters:
  ///   - tensors: `input_ids` `[batch, tokens]`, optionally `attention_mask` alike, `position_ids` alike or
  ///     `[axes, batch, tokens]`, and the family's media tensors. A missing batch axis is added. Without `input_ids` there
  ///     must be media.
  ///   - model: Says which media there are and of what shape.
  ///   - mayLeaveMedia: Whether media that no placeholder takes are left out instead of refused.
  /// - Throws: `TraceError`, `StoredTensorError`.
  public init(
    _ tensors: [StoredTensor], path: String, model: any LanguageModel, mayLeaveMedia: Bool = false
  ) throws {
    self.path = path
    self.mayLeaveMedia = mayLeaveMedia
    let known = Self.textInputs + model.mediaInputs
    if let stranger = tensors.first(where: { !known.contains($0.name) }) {
      throw TraceError.unknownInput(path: path, name: stranger.name, known: known)
    }
    media = try model.media(from: MediaTensors(tensors, path: path))
    for (index, medium) in media.enumerated() {
      try model.validate(medium, sample: "\(path): medium \(index)")
    }
    guard let ids = tensors.first(where: { $0.name == "input_ids" }) else {
      guard !media.isEmpty else { throw TraceError.missingInput(path: path, name: "input_ids") }
      (rows, width) = ([], 0)
      return
    }
    let batch = try IDBatch(ids, path: path)
    width = batch.width
    rows = try batch.rows(
      mask: tensors.first { $0.name == "attention_mask" }, positions: tensors.first { $0.name == "position_ids" },
      axes: model.decoder.configuration.rotarySections.count)
  }
}

/// Padded ids, and what comes in the same shape.
private struct IDBatch {
  let values: [Int]
  let batch: Int
  let width: Int
  let path: String

  init(_ ids: StoredTensor, path: String) throws {
    let shape = ids.shape.count == 1 ? [1] + ids.shape : ids.shape
    guard shape.count == 2, shape[0] > 0, shape[1] > 0 else {
      throw TraceError.wrongShape(
        path: path, name: "input_ids", found: ids.shape, expected: "[batch, tokens]")
    }
    let (positions, overflow) = shape[0].multipliedReportingOverflow(by: shape[1])
    guard !overflow, positions <= Prompt.positionLimit else {
      throw TraceError.wrongShape(
        path: path, name: "input_ids", found: ids.shape,
        expected: "at most \(Prompt.positionLimit) positions in all")
    }
    values = try Self.integers(ids, path)
    (batch, width, self.path) = (shape[0], shape[1], path)
  }

  private static func integers(_ tensor: StoredTensor, _ path: String) throws -> [Int] {
    guard !tensor.elementType.isFloatingPoint else {
      throw TraceError.wrongType(
        path: path, name: tensor.name, found: tensor.elementType.rawValue, expected: "integers, such as i64")
    }
    return try tensor.integers()
  }

  /// The rows without padding.
  ///
  /// - Parameter axes: How many axes of positions the model has beside the single one; 0 for none.
  func rows(mask: StoredTensor?, positions: StoredTensor?, axes: Int) throws -> [TraceInputs.Row] {
    var bits = [Int](repeating: 1, count: values.count)
    if let mask {
      try check(mask, shapes: [[batch, width]])
      bits = try Self.integers(mask, path)
    }
    var given: [[Int]] = []
    if let positions {
      try check(positions, shapes: [[batch, width]] + (axes > 1 ? [[axes, batch, width]] : []))
      let all = try Self.integers(positions, path)
      given = stride(from: 0, to: all.count, by: values.count).map { Array(all[$0..<$0 + values.count]) }
    }
    return try (0..<batch).map { row in
      let range = row * width..<(row + 1) * width
      let places = (0..<width).filter { bits[row * width + $0] == 1 }
      guard !places.isEmpty, bits[range].allSatisfy({ $0 == 0 || $0 == 1 }) else {
        throw TraceError.badMask(path: path, row: row)
      }
      let own = given.map { axis in places.map { axis[row * width + $0] } }
      if let negative = own.joined().first(where: { $0 < 0 }) {
        throw TraceError.negativePosition(path: path, row: row, found: negative)
      }
      return TraceInputs.Row(
        ids: places.map { values[row * width + $0] }, places: places,
        positions: own.isEmpty ? nil : RowPositions(axes: own))
    }
  }

  /// The shape may lack a batch axis of 1.
  private func check(_ tensor: StoredTensor, shapes: [[Int]]) throws {
    guard shapes.contains(tensor.shape) || (batch == 1 && tensor.shape == [width]) else {
      throw TraceError.wrongShape(
        path: path, name: tensor.name, found: tensor.shape,
        expected: shapes.map { "\($0)" }.joined(separator: " or ") + ", as input_ids")
    }
  }
}
