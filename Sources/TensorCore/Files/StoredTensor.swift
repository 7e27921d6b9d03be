public import RunKit

/// A tensor as a file holds it: a name, a type, a shape and bytes, row-major and little-endian.
///
/// Nothing is read from a mapped file until a conversion asks for it.
public struct StoredTensor: Sendable {
  /// The name in the file.
  public let name: String
  /// The type of one element.
  public let elementType: ElementType
  /// Sizes of the axes, slowest first; empty for a single number.
  public let shape: [Int]
  /// The bytes; as many as shape and type ask for.
  public let storage: StoredBytes

  /// A tensor over bytes.
  ///
  /// - Throws: `StoredTensorError` when the shape is impossible or the bytes are not exactly as many as it needs.
  public init(name: String, elementType: ElementType, shape: [Int], storage: StoredBytes)
    throws(StoredTensorError)
  {
    guard let expected = elementType.byteCount(shape: shape) else {
      throw .impossibleShape(tensor: name, shape: shape)
    }
    guard storage.count == expected else {
      throw .sizeMismatch(tensor: name, shape: shape, found: storage.count, expected: expected)
    }
    self.init(checked: name, elementType, shape, storage)
  }

  /// A tensor of a file whose reader has made the checks already and says more about a failure.
  init(checked name: String, _ elementType: ElementType, _ shape: [Int], _ storage: StoredBytes) {
    self.name = name
    self.elementType = elementType
    self.shape = shape
    self.storage = storage
  }

  /// A tensor of type f32.
  public init(name: String, shape: [Int], floats: [Float]) throws(StoredTensorError) {
    try self.init(name: name, elementType: .f32, shape: shape, storage: StoredBytes(elements: floats))
  }

  /// A tensor of type bf16: each number rounded to the nearest, ties to even; NaN stays NaN.
  public init(name: String, shape: [Int], roundingToBFloat16 floats: [Float]) throws(StoredTensorError) {
    let halves = floats.map { value -> UInt16 in
      if value.isNaN { return 0x7FC0 }
      let bits = value.bitPattern
      return UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16)
    }
    try self.init(name: name, elementType: .bf16, shape: shape, storage: StoredBytes(elements: halves))
  }

  /// Numbers rounded to the nearest of a floating-point type; other types are an error.
  ///
  /// - Throws: `StoredTensorError.wrongElementType`; `.sizeMismatch` for another number of elements.
  public init(name: String, shape: [Int], floats: [Float], roundingTo type: ElementType)
    throws(StoredTensorError)
  {
    switch type {
    case .f32: try self.init(name: name, shape: shape, floats: floats)
    case .f64: try self.init(name: name, shape: shape, doubles: floats.map { Double($0) })
    case .bf16: try self.init(name: name, shape: shape, roundingToBFloat16: floats)
    case .f16:
      let halves = floats.map { Float16($0) }
      try self.init(name: name, elementType: .f16, shape: shape, storage: StoredBytes(elements: halves))
    default: throw .wrongElementType(tensor: name, found: type, wanted: "rounded numbers")
    }
  }

  /// A tensor of type f64.
  public init(name: String, shape: [Int], doubles: [Double]) throws(StoredTensorError) {
    try self.init(name: name, elementType: .f64, shape: shape, storage: StoredBytes(elements: doubles))
  }

  /// A tensor of type i64.
  public init(name: String, shape: [Int], integers: [Int]) throws(StoredTensorError) {
    try self.init(
      name: name, elementType: .i64, shape: shape, storage: StoredBytes(elements: integers.map { Int64($0) }))
  }

  /// A tensor of type u8.
  public init(name: String, shape: [Int], bytes: [UInt8]) throws(StoredTensorError) {
    try self.init(name: name, elementType: .u8, shape: shape, storage: .owned(bytes))
  }

  /// How many elements there are: the product of the shape.
  public var elementCount: Int { storage.count / elementType.byteCount }

  /// The same tensor under another name.
  public func renamed(_ name: String) -> StoredTensor {
    StoredTensor(checked: name, elementType, shape, storage)
  }

  /// Some elements as a tensor of one axis; those of a mapped file stay on disk until used.
  ///
  /// - Parameter elements: Within `0..<elementCount`; anything else is a defect of the caller and traps.
  public func slice(_ elements: Range<Int>) -> StoredTensor {
    require(
      elements.lowerBound >= 0 && elements.upperBound <= elementCount,
      "elements \(elements) of \(elementCount) of \(name)")
    let size = elementType.byteCount
    let bytes = storage.slice(elements.lowerBound * size..<elements.upperBound * size)
    return StoredTensor(checked: name, elementType, [elements.count], bytes)
  }

  /// The elements as Float32: exact, except that f64 is rounded to the nearest.
  ///
  /// - Throws: `StoredTensorError.wrongElementType` for integers of more than 16 bits, which could lose digits.
  public func floats() throws(StoredTensorError) -> [Float] {
    switch elementType {
    case .f64: storage.elements(of: Double.self) { Float($0) }
    case .f32: storage.elements(of: Float.self) { $0 }
    case .f16: storage.halves()
    case .bf16: storage.elements(of: UInt16.self) { Float(bitPattern: UInt32($0) << 16) }
    case .i16: storage.elements(of: Int16.self) { Float($0) }
    case .u16: storage.elements(of: UInt16.self) { Float($0) }
    case .i8: storage.elements(of: Int8.self) { Float($0) }
    case .u8: storage.elements(of: UInt8.self) { Float($0) }
    case .bool: storage.elements(of: UInt8.self) { $0 == 0 ? 0 : 1 }
    case .i64, .i32, .u64, .u32: throw wrongElementType(for: "Float32")
    }
  }

  /// The elements as Float64, exactly.
  ///
  /// - Throws: `StoredTensorError.wrongElementType` for integers of 64 bits, which could lose digits.
  public func doubles() throws(StoredTensorError) -> [Double] {
    switch elementType {
    case .f64: storage.elements(of: Double.self) { $0 }
    case .i32: storage.elements(of: Int32.self) { Double($0) }
    case .u32: storage.elements(of: UInt32.self) { Double($0) }
    case .i64, .u64: throw wrongElementType(for: "Float64")
    default: try floats().map { Double($0) }
    }
  }

  /// The elements as integers; of type bool, 0 or 1.
  ///
  /// - Throws: `StoredTensorError` for floating-point elements, and for u64 elements above `Int.max`.
  public func integers() throws(StoredTensorError) -> [Int] {
    switch elementType {
    case .i64: return storage.elements(of: Int64.self) { Int($0) }
    case .i32: return storage.elements(of: Int32.self) { Int($0) }
    case .i16: return storage.elements(of: Int16.self) { Int($0) }
    case .i8: return storage.elements(of: Int8.self) { Int($0) }
    case .u32: return storage.elements(of: UInt32.self) { Int($0) }
    case .u16: return storage.elements(of: UInt16.self) { Int($0) }
    case .u8: return storage.elements(of: UInt8.self) { Int($0) }
    case .bool: return storage.elements(of: UInt8.self) { $0 == 0 ? 0 : 1 }
    case .u64:
      let values = storage.elements(of: UInt64.self) { $0 }
      if let large = values.first(where: { $0 > UInt64(Int.max) }) {
        throw .integerOutOfRange(tensor: name, found: large)
      }
      return values.map { Int($0) }
    case .f64, .f32, .f16, .bf16: throw wrongElementType(for: "integers")
    }
  }

  /// The stored bytes, copied.
  public func bytes() -> [UInt8] { storage.bytes(0..<storage.count) }

  private func wrongElementType(for wanted: String) -> StoredTensorError {
    .wrongElementType(tensor: name, found: elementType, wanted: wanted)
  }
}

/// Why a stored tensor could not be made or converted.
public enum StoredTensorError: DescribedError {
  case impossibleShape(tensor: String, shape: [Int])
  case sizeMismatch(tensor: String, shape: [Int], found: Int, expected: Int)
  case wrongElementType(tensor: String, found: ElementType, wanted: String)
  case integerOutOfRange(tensor: String, found: UInt64)
  case notQuantisable(tensor: String, row: Int, reason: String)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case impossibleShape = "tensor_impossible_shape"
    case sizeMismatch = "tensor_size_mismatch"
    case wrongElementType = "tensor_wrong_element_type"
    case integerOutOfRange = "tensor_integer_out_of_range"
    case notQuantisable = "tensor_not_quantisable"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .impossibleShape: .impossibleShape
    case .sizeMismatch: .sizeMismatch
    case .wrongElementType: .wrongElementType
    case .integerOutOfRange: .integerOutOfRange
    case .notQuantisable: .notQuantisable
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .impossibleShape(let tensor, let shape):
      "tensor \(tensor.inQuotes): the shape \(shape.prefix(16)) has a negative size or too many elements to count"
    case .sizeMismatch(let tensor, let shape, let found, let expected):
      "tensor \(tensor.inQuotes): found \(found) bytes, expected \(expected) for the shape \(shape.prefix(16))"
    case .wrongElementType(let tensor, let found, let wanted):
      "tensor \(tensor.inQuotes): found elements of type \(found.rawValue), which do not convert to \(wanted)"
    case .integerOutOfRange(let tensor, let found):
      "tensor \(tensor.inQuotes): found the element \(found), expected at most \(Int.max)"
    case .notQuantisable(let tensor, let row, let reason):
      "tensor \(tensor.inQuotes), row \(row): \(reason)"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .impossibleShape, .sizeMismatch: "write the tensor again with the shape it has"
    case .wrongElementType: "store the tensor with the type that is expected there"
    case .integerOutOfRange: "store the tensor as I64"
    case .notQuantisable: "convert to bf16 or f32 instead, or get the weight files again"
    }
  }
}
