/// The type of the elements of a stored tensor; the raw value is its name in safetensors headers.
public enum ElementType: String, CaseIterable, Sendable {
  case f64 = "F64"
  case f32 = "F32"
  case f16 = "F16"
  case bf16 = "BF16"
  case i64 = "I64"
  case i32 = "I32"
  case i16 = "I16"
  case i8 = "I8"
  case u64 = "U64"
  case u32 = "U32"
  case u16 = "U16"
  case u8 = "U8"
  case bool = "BOOL"

  /// Types that the safetensors format defines and this program does not read.
  public static let unsupportedNames = ["F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "F6_E3M2", "C64"]

  /// Bytes of one element.
  public var byteCount: Int {
    switch self {
    case .f64, .i64, .u64: 8
    case .f32, .i32, .u32: 4
    case .f16, .bf16, .i16, .u16: 2
    case .i8, .u8, .bool: 1
    }
  }

  /// Whether elements are floating-point numbers.
  public var isFloatingPoint: Bool {
    switch self {
    case .f64, .f32, .f16, .bf16: true
    default: false
    }
  }

  /// How NumPy spells the type in little-endian order; nil for bf16, which NumPy does not have.
  public var numpyName: String? {
    switch self {
    case .f64: "<f8"
    case .f32: "<f4"
    case .f16: "<f2"
    case .bf16: nil
    case .i64: "<i8"
    case .i32: "<i4"
    case .i16: "<i2"
    case .i8: "|i1"
    case .u64: "<u8"
    case .u32: "<u4"
    case .u16: "<u2"
    case .u8: "|u1"
    case .bool: "|b1"
    }
  }

  /// Bytes of a tensor of this type and shape, or nil where a size is negative or a product does not fit `Int`.
  ///
  /// Zero sizes count as 1 in the check, so that a product over part of the shape cannot overflow later either.
  public func byteCount(shape: [Int]) -> Int? {
    var bound = byteCount
    for size in shape {
      guard size >= 0 else { return nil }
      let (product, overflow) = bound.multipliedReportingOverflow(by: max(size, 1))
      guard !overflow else { return nil }
      bound = product
    }
    return shape.contains(0) ? 0 : bound
  }
}
