public import RunKit
public import TensorCore

/// Why raw inputs cannot be run.
public enum TraceError: DescribedError {
  case missingInput(path: String, name: String)
  case wrongShape(path: String, name: String, found: [Int], expected: String)
  case unknownInput(path: String, name: String, known: [String])
  case badMask(path: String, row: Int)
  case positionsWithMedia(path: String)
  case negativePosition(path: String, row: Int, found: Int)
  case unknownCapture(name: String, nearest: String?)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case missingInput = "trace_missing_input"
    case wrongShape = "trace_wrong_shape"
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
    case .missingInput(let path, _), .wrongShape(let path, _, _, _), .unknownInput(let path, _, _),
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
    case .missingInput, .wrongShape, .unknownInput:
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
    /// Ids with one placeholder for each medium.
    public let ids: [Int]
    /// Places of the ids in the padded row.
    public let places: [Int]
    /// Given positions of the ids; nil for the default.
    public let positions: [Int]?
  }

  /// The sequences.
  public let rows: [Row]
  /// The padded length before expansion.
  public let width: Int
  /// Images and audios in the order of their placeholders over the whole batch.
  public let media: [Medium]
  /// Where the inputs come from, for messages.
  public let path: String

  /// Takes the inputs out of named tensors.
  ///
  /// - Parameters:
  ///   - tensors: `input_ids` `[batch, tokens]`, optionally `attention_mask` and `position_ids` alike, and media tensors
  ///     `image_u8`, `audio_u8` of `[media, channels, …]`. A missing batch axis is added.
  ///   - model: Says which media there are and of what shape.
  /// - Throws: `TraceError`, `StoredTensorError`.
  public init(_ tensors: [StoredTensor], path: String, model: any LanguageModel) throws {
    self.path = path
    let mediaNames = model.modalities.map { "\($0.rawValue)_u8" }
    let known = ["input_ids", "attention_mask", "position_ids"] + mediaNames
    if let stranger = tensors.first(where: { !known.contains($0.name) }) {
      throw TraceError.unknownInput(path: path, name: stranger.name, known: known)
    }
    func find(_ name: String) -> StoredTensor? { tensors.first { $0.name == name } }
    guard let ids = find("input_ids") else { throw TraceError.missingInput(path: path, name: "input_ids") }
    let shape = ids.shape.count == 1 ? [1] + ids.shape : ids.shape
    guard shape.count == 2, shape[0] > 0, shape[1] > 0 else {
      throw TraceError.wrongShape(
        path: path, name: "input_ids", found: ids.shape, expected: "[batch, tokens]")
    }
    let (batch, width) = (shape[0], shape[1])
    let (positions, overflow) = batch.multipliedReportingOverflow(by: width)
    guard !overflow, positions <= Prompt.positionLimit else {
      throw TraceError.wrongShape(
        path: path, name: "input_ids", found: ids.shape,
        expected: "at most \(Prompt.positionLimit) positions in all")
    }
    self.width = width
    func integers(_ name: String) throws -> [Int]? {
      guard let tensor = find(name) else { return nil }
      guard tensor.shape == ids.shape else {
        throw TraceError.wrongShape(path: path, name: name, found: tensor.shape, expected: "\(ids.shape)")
      }
      return try tensor.integers()
    }
    let values = try ids.integers()
    let mask = try integers("attention_mask") ?? [Int](repeating: 1, count: values.count)
    let givenPositions = try integers("position_ids")
    rows = try (0..<batch).map { row in
      let range = row * width..<(row + 1) * width
      let places = (0..<width).filter { mask[row * width + $0] == 1 }
      guard !places.isEmpty, mask[range].allSatisfy({ $0 == 0 || $0 == 1 }) else {
        throw TraceError.badMask(path: path, row: row)
      }
      let given = givenPositions.map { all in places.map { all[row * width + $0] } }
      if let negative = given?.first(where: { $0 < 0 }) {
        throw TraceError.negativePosition(path: path, row: row, found: negative)
      }
      return Row(ids: places.map { values[row * width + $0] }, places: places, positions: given)
    }
    media = try model.modalities.flatMap { modality -> [Medium] in
      guard let tensor = find("\(modality.rawValue)_u8") else { return [] }
      return try Self.media(tensor, modality, model: model, path: path)
    }
  }

  private static func media(
    _ tensor: StoredTensor, _ modality: Modality, model: any LanguageModel, path: String
  ) throws -> [Medium] {
    let expected = model.mediumShape(of: modality) ?? []
    // Audio has a channel axis of 1 in files and none in the model.
    let inner = Array(tensor.shape.dropFirst())
    guard !tensor.shape.isEmpty, inner == expected || inner == [1] + expected, tensor.elementType == .u8
    else {
      throw TraceError.wrongShape(
        path: path, name: tensor.name, found: tensor.shape, expected: "u8 [media, \(expected)]")
    }
    let bytes = tensor.bytes()
    let size = expected.reduce(1, *)
    return (0..<tensor.shape[0]).map { index in
      Medium(
        modality: modality, shape: expected, bytes: Array(bytes[index * size..<(index + 1) * size]),
        identity: "\(tensor.name)/\(index)")
    }
  }
}
