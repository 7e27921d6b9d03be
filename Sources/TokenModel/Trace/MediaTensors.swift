public import TensorCore

/// The media tensors of raw inputs, each checked for its type and shape when it is asked for.
public struct MediaTensors {
  /// Where they come from, for messages.
  public let path: String
  private let tensors: [StoredTensor]

  /// - Parameter tensors: All inputs; those of text are ignored.
  public init(_ tensors: [StoredTensor], path: String) { (self.tensors, self.path) = (tensors, path) }

  /// Whether there is a tensor of this name.
  public func has(_ name: String) -> Bool { tensors.contains { $0.name == name } }

  /// Floating-point numbers; nil where there is no such tensor.
  ///
  /// - Parameter shape: The sizes of the axes; nil for any size.
  /// - Throws: `TraceError.wrongType`, `.wrongShape`.
  public func floats(_ name: String, shape: [Int?]) throws -> (values: [Float], shape: [Int])? {
    guard let tensor = tensors.first(where: { $0.name == name }) else { return nil }
    guard tensor.elementType.isFloatingPoint else {
      throw wrongType(tensor, "floating-point numbers, such as f32")
    }
    try check(tensor, shape)
    return (try tensor.floats(), tensor.shape)
  }

  /// Whole numbers or truth values as rows of the last axis; nil where there is no such tensor.
  ///
  /// - Parameter shape: The sizes of the axes; nil for any size.
  /// - Throws: `TraceError.wrongType`, `.wrongShape`, `.wrongValue` for negative numbers.
  public func integers(_ name: String, shape: [Int?]) throws -> (values: [Int], shape: [Int])? {
    guard let tensor = tensors.first(where: { $0.name == name }) else { return nil }
    guard !tensor.elementType.isFloatingPoint else { throw wrongType(tensor, "integers, such as i64") }
    try check(tensor, shape)
    let values = try tensor.integers()
    if let negative = values.first(where: { $0 < 0 }) {
      throw TraceError.wrongValue(
        path: path, name: name, found: "\(negative)", expected: "numbers of 0 or above")
    }
    return (values, tensor.shape)
  }

  /// The bytes of media `[media, shape]`, one array for each; none where there is no such tensor.
  ///
  /// - Throws: `TraceError.wrongType`, `.wrongShape`.
  public func bytes(_ name: String, shape: [Int]) throws -> [[UInt8]] {
    guard let tensor = tensors.first(where: { $0.name == name }) else { return [] }
    guard tensor.elementType == .u8 else { throw wrongType(tensor, "u8") }
    let inner = Array(tensor.shape.dropFirst())
    // Sound has a channel axis of 1 in some files.
    guard !tensor.shape.isEmpty, inner == shape || inner == [1] + shape else {
      throw TraceError.wrongShape(
        path: path, name: name, found: tensor.shape, expected: "[media, \(Self.text(shape))]")
    }
    let (bytes, size) = (tensor.bytes(), shape.reduce(1, *))
    return (0..<tensor.shape[0]).map { Array(bytes[$0 * size..<($0 + 1) * size]) }
  }

  /// The error for a tensor that must be there beside another one.
  public func missing(_ name: String) -> TraceError { .missingInput(path: path, name: name) }

  private func wrongType(_ tensor: StoredTensor, _ expected: String) -> TraceError {
    .wrongType(path: path, name: tensor.name, found: tensor.elementType.rawValue, expected: expected)
  }

  private func check(_ tensor: StoredTensor, _ shape: [Int?]) throws(TraceError) {
    let fits =
      tensor.shape.count == shape.count
      && zip(tensor.shape, shape).allSatisfy { found, expected in expected.map { $0 == found } ?? true }
    guard fits, tensor.elementCount > 0 else {
      throw .wrongShape(
        path: path, name: tensor.name, found: tensor.shape,
        expected: "[" + shape.map { $0.map(String.init) ?? "any" }.joined(separator: ", ") + "]")
    }
  }

  private static func text(_ shape: [Int]) -> String { shape.map(String.init).joined(separator: ", ") }
}
