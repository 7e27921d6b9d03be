import RunKit

/// A matrix of 8 or 4 bits a number, with one scale for each group of neighbours in a row: weight ≈ scale · code.
///
/// Codes are symmetric around 0: −127…127 or −7…7. The scale of a group is its largest magnitude over 127 or 7, rounded to
/// half precision, and the codes are the nearest for that scale, so that no number is off by more than half a scale.
///
/// In a safetensors file the matrix `NAME` of shape `[rows, columns]` is two tensors:
///
/// | tensor | type | shape | contents |
/// | --- | --- | --- | --- |
/// | `NAME.int8` | I8 | `[rows, columns]` | codes |
/// | `NAME.int4` | U8 | `[rows, columns / 2]` | of a group of G, byte j holds code j + 8 in its low and code j + G/2 + 8 in its high half |
/// | `NAME.scale` | F16 | `[rows, columns / G]` | scales |
///
/// Source: Dettmers and Zettlemoyer, "The case for 4-bit precision", 2023, arXiv:2212.09720, section 2 (block-wise
/// quantisation by the largest magnitude).
public struct QuantisedMatrix: Sendable {
  /// The size of a code.
  public enum Bits: Int, Sendable, CaseIterable {
    case four = 4
    case eight = 8

    /// What follows the name of a matrix in the name of its codes.
    public var suffix: String { self == .four ? ".int4" : ".int8" }
    /// The largest code.
    var limit: Float { self == .four ? 7 : 127 }
  }

  /// What follows the name of a matrix in the name of its scales.
  public static let scaleSuffix = ".scale"
  /// Sizes of a group.
  public static let groupSizes = [32, 64, 128]

  /// Bits of a code.
  public let bits: Bits
  /// Rows of the matrix.
  public let rows: Int
  /// Columns of the matrix.
  public let columns: Int
  /// Neighbours that share a scale.
  public let groupSize: Int
  /// `[rows, columns]` of type i8, or `[rows, columns / 2]` of type u8.
  public let codes: StoredTensor
  /// `[rows, columns / groupSize]` of type f16.
  public let scales: StoredTensor

  /// The matrix that two tensors of a file make.
  ///
  /// - Throws: `StoredTensorError` when types or shapes do not fit together.
  public init(bits: Bits, rows: Int, columns: Int, codes: StoredTensor, scales: StoredTensor)
    throws(StoredTensorError)
  {
    guard codes.elementType == (bits == .four ? .u8 : .i8) else {
      throw .wrongElementType(
        tensor: codes.name, found: codes.elementType, wanted: bits == .four ? "U8" : "I8")
    }
    guard scales.elementType == .f16 else {
      throw .wrongElementType(tensor: scales.name, found: scales.elementType, wanted: "F16")
    }
    guard rows >= 0, columns > 0, codes.shape == [rows, bits == .four ? columns / 2 : columns] else {
      throw .impossibleShape(tensor: codes.name, shape: codes.shape)
    }
    guard scales.shape.count == 2, scales.shape[0] == rows, scales.shape[1] > 0,
      columns % scales.shape[1] == 0, Self.groupSizes.contains(columns / scales.shape[1])
    else { throw .impossibleShape(tensor: scales.name, shape: scales.shape) }
    (self.bits, self.rows, self.columns, groupSize) = (bits, rows, columns, columns / scales.shape[1])
    (self.codes, self.scales) = (codes, scales)
  }

  /// The nearest codes for rows of numbers.
  ///
  /// - Parameters:
  ///   - name: The name of the matrix.
  ///   - values: `rows * columns` numbers, row by row.
  ///   - groupSize: One of `groupSizes` that divides `columns`.
  /// - Throws: `StoredTensorError.notQuantisable` for numbers that are not finite or beyond what a half-precision scale
  ///   can hold.
  public init(name: String, bits: Bits, rows: Int, columns: Int, groupSize: Int, values: [Float])
    throws(StoredTensorError)
  {
    require(
      values.count == rows * columns && Self.groupSizes.contains(groupSize) && columns % groupSize == 0,
      "\(values.count) values in groups of \(groupSize) for \(rows) x \(columns)")
    let groups = columns / groupSize
    var codes = [UInt8](repeating: 0, count: bits == .four ? rows * columns / 2 : rows * columns)
    var scales: [UInt16] = []
    scales.reserveCapacity(rows * groups)
    for group in 0..<rows * groups {
      let start = group * groupSize
      var largest: Float = 0
      for value in values[start..<start + groupSize] {
        guard value.isFinite else {
          throw .notQuantisable(tensor: name, row: start / columns, reason: "a number that is not finite")
        }
        largest = max(largest, abs(value))
      }
      let half = Float16(largest / bits.limit)
      let scale = Float(half)
      guard scale.isFinite else {
        throw .notQuantisable(
          tensor: name, row: start / columns, reason: "\(largest), too large for a half-precision scale")
      }
      scales.append(half.bitPattern)
      for place in 0..<groupSize {
        let exact = scale == 0 ? 0 : (values[start + place] / scale).rounded(.toNearestOrEven)
        let code = Int(max(-bits.limit, min(bits.limit, exact)))
        if bits == .eight {
          codes[start + place] = UInt8(bitPattern: Int8(code))
        } else {
          let middle = groupSize / 2
          let byte = start / 2 + place % middle
          codes[byte] |= UInt8(code + 8) << (place < middle ? 0 : 4)
        }
      }
    }
    let stored = bits == .four ? ElementType.u8 : .i8
    try self.init(
      bits: bits, rows: rows, columns: columns,
      codes: StoredTensor(
        name: name + bits.suffix, elementType: stored, shape: [rows, bits == .four ? columns / 2 : columns],
        storage: .owned(codes)),
      scales: StoredTensor(
        name: name + Self.scaleSuffix, elementType: .f16, shape: [rows, groups],
        storage: StoredBytes(elements: scales)))
  }

  /// Gives mapped pages back to the system.
  func releasePages() {
    codes.storage.releasePages()
    scales.storage.releasePages()
  }
}
