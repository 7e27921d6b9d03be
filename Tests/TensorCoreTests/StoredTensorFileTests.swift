import TensorCore
import XCTest

/// Conversions of the elements that files hold.
final class StoredTensorFileTests: XCTestCase {
  private func tensor(_ type: ElementType, _ bytes: [UInt8]) throws -> StoredTensor {
    try StoredTensor(
      name: "t", elementType: type, shape: [bytes.count / type.byteCount], storage: .owned(bytes))
  }

  /// Every one of the 65,536 half-precision numbers against its definition, to the bit.
  func testHalfPrecisionIsConvertedExactly() throws {
    let patterns = (0...UInt16.max).flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }
    let values = try tensor(.f16, patterns).floats()
    XCTAssertEqual(values.count, 65_536)
    for (pattern, value) in values.enumerated() {
      let (exponent, fraction) = (pattern >> 10 & 31, Float(pattern & 1_023))
      let magnitude: Float =
        switch exponent {
        case 31: fraction == 0 ? .infinity : .nan
        case 0: fraction * Float(sign: .plus, exponent: -24, significand: 1)
        default: (1 + fraction / 1_024) * Float(sign: .plus, exponent: exponent - 15, significand: 1)
        }
      if magnitude.isNaN {
        XCTAssertTrue(value.isNaN, "\(pattern)")
      } else {
        XCTAssertEqual(value.bitPattern, (pattern < 32_768 ? magnitude : -magnitude).bitPattern, "\(pattern)")
      }
    }
  }

  func testBrainFloatsAreTheUpperHalfOfFloats() throws {
    let values = try tensor(.bf16, [0x80, 0x3F, 0x80, 0xFF, 0x01, 0x00, 0xC0, 0x7F]).floats()
    XCTAssertEqual(values[0], 1)
    XCTAssertEqual(values[1], -.infinity)
    XCTAssertEqual(values[2].bitPattern, 0x0001_0000)
    XCTAssertTrue(values[3].isNaN)
  }

  func testIntegersOfEveryTypeKeepTheirValue() throws {
    let ones = [UInt8](repeating: 0xFF, count: 8)
    for type in [ElementType.i64, .i32, .i16, .i8] {
      XCTAssertEqual(try tensor(type, ones).integers(), [Int](repeating: -1, count: 8 / type.byteCount))
    }
    XCTAssertEqual(try tensor(.u32, ones).integers(), [4_294_967_295, 4_294_967_295])
    XCTAssertEqual(try tensor(.u32, ones).doubles(), [4_294_967_295, 4_294_967_295])
    XCTAssertEqual(try tensor(.u16, ones).floats(), [65_535, 65_535, 65_535, 65_535])
    XCTAssertEqual(try tensor(.u8, ones).integers(), [Int](repeating: 255, count: 8))
    XCTAssertEqual(try tensor(.bool, [0, 1, 2]).integers(), [0, 1, 1])
    XCTAssertEqual(try tensor(.u64, [1, 0, 0, 0, 0, 0, 0, 0]).integers(), [1])
    XCTAssertThrowsError(try tensor(.u64, ones).integers()) {
      XCTAssertEqual($0 as? StoredTensorError, .integerOutOfRange(tensor: "t", found: .max))
    }
  }

  func testConversionsThatCouldLoseDigitsAreRefused() throws {
    for type in [ElementType.i64, .u64, .i32, .u32] {
      XCTAssertThrowsError(try tensor(type, [0, 0, 0, 0, 0, 0, 0, 0]).floats(), type.rawValue)
    }
    for type in [ElementType.i64, .u64] {
      XCTAssertThrowsError(try tensor(type, [0, 0, 0, 0, 0, 0, 0, 0]).doubles(), type.rawValue)
    }
    for type in [ElementType.f64, .f32, .f16, .bf16] {
      XCTAssertThrowsError(try tensor(type, [0, 0, 0, 0, 0, 0, 0, 0]).integers(), type.rawValue)
    }
  }

  func testShapesThatDoNotFitTheBytesAreRefused() {
    XCTAssertThrowsError(try StoredTensor(name: "t", shape: [3], floats: [1])) {
      XCTAssertEqual($0 as? StoredTensorError, .sizeMismatch(tensor: "t", shape: [3], found: 4, expected: 12))
    }
    for shape in [[-1], [Int.max, 2], [.max, .max, 0]] {
      XCTAssertThrowsError(try StoredTensor(name: "t", shape: shape, floats: [])) {
        XCTAssertEqual($0 as? StoredTensorError, .impossibleShape(tensor: "t", shape: shape))
      }
    }
  }
}
