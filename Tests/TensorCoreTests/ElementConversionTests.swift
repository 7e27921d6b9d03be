import TestSupport
import XCTest

@testable import TensorCore

/// Conversions of 16-bit floats, for every pattern there is.
final class ElementConversionTests: XCTestCase {
  private let patterns = (0...UInt16.max).map { $0 }

  private func converted(_ type: ElementType) throws -> [Float] {
    let stored = try StoredTensor(
      name: "all", elementType: type, shape: [1, patterns.count], storage: StoredBytes(elements: patterns))
    return try LinearWeight(stored).rows([0]).hostValues()
  }

  /// A half by its definition. (`Float(Float16)` follows the thread's denormal mode, which kernels set.)
  private func half(_ pattern: UInt16) -> Float {
    let (exponent, digits) = (Int(pattern >> 10 & 31), Double(pattern & 1023))
    let size =
      exponent == 0
      ? digits * 0x1p-24 : (1024 + digits) * Double(sign: .plus, exponent: exponent - 25, significand: 1)
    let magnitude = exponent < 31 ? Float(size) : digits == 0 ? .infinity : .nan
    return pattern >> 15 == 1 ? -magnitude : magnitude
  }

  private func check(_ found: [Float], _ expected: (UInt16) -> Float) {
    XCTAssertEqual(found.count, patterns.count)
    for (pattern, value) in zip(patterns, found) {
      let wanted = expected(pattern)
      if wanted.isNaN {
        XCTAssertTrue(value.isNaN && value.sign == wanted.sign, "pattern \(pattern)")
      } else {
        XCTAssertEqual(value.bitPattern, wanted.bitPattern, "pattern \(pattern)")
      }
    }
  }

  func testEveryHalfPatternConvertsExactly() throws {
    try check(converted(.f16)) { half($0) }
  }

  func testStoredHalvesAreReadExactlyWhateverTheThreadsDenormalMode() throws {
    let stored = try StoredTensor(
      name: "all", elementType: .f16, shape: [patterns.count], storage: StoredBytes(elements: patterns))
    _ = Tensor(zeros: [1]).exponential()  // A kernel has run: the thread flushes denormals.
    try check(stored.floats()) { half($0) }
  }

  func testEveryBrainFloatPatternConvertsExactly() throws {
    try check(converted(.bf16)) { Float(bitPattern: UInt32($0) << 16) }
  }

  func testEveryHalfPatternEntersADotProductExactly() throws {
    // A weight of one column times 1 is the weight itself; denormal halves are normal floats and must not be flushed.
    let stored = try StoredTensor(
      name: "all", elementType: .f16, shape: [patterns.count, 1], storage: StoredBytes(elements: patterns))
    let found = try LinearWeight(stored).forward(Tensor([1], shape: [1, 1])).hostValues()
    for (pattern, value) in zip(patterns, found) {
      let wanted = half(pattern)
      XCTAssertTrue(wanted.isNaN ? value.isNaN : value == wanted, "pattern \(pattern)")
    }
  }

  func testTheVectorLoopAndTheRestConvertAlike() throws {
    for type in [ElementType.f16, .bf16] {
      for count in 1...70 {
        let row = Array(patterns[31_700..<31_700 + count])
        let stored = try StoredTensor(
          name: "row", elementType: type, shape: [1, count], storage: StoredBytes(elements: row))
        let found = try LinearWeight(stored).rows([0]).hostValues()
        let expected = try stored.floats()
        for index in 0..<count {
          XCTAssertTrue(
            found[index].isNaN && expected[index].isNaN || found[index] == expected[index],
            "\(type) \(count) \(index)")
        }
      }
    }
  }
}
