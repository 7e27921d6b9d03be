import Foundation
public import TensorCore
import XCTest

/// A repeatable tensor of values spread evenly over ±`scale`.
///
/// - Parameter seed: Another seed gives other values.
public func randomTensor(_ shape: [Int], seed: UInt64, scale: Float = 1) -> Tensor {
  // Knuth's 64-bit linear congruence; its high bits are good enough for test data.
  var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
  return Tensor(
    (0..<shape.reduce(1, *)).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (Float(state >> 40) / Float(1 << 24) - 0.5) * 2 * scale
    }, shape: shape)
}

/// Repeatable whole numbers in `0..<bound`.
public func randomIndices(_ count: Int, below bound: Int, seed: UInt64) -> [Int] {
  randomTensor([count], seed: seed, scale: 1).hostValues().map {
    min(bound - 1, Int(Double($0 + 1) / 2 * Double(bound)))
  }
}

/// Fails unless a tensor has a shape and every element is near the expected one.
///
/// An element may differ by `absolute` + `relative` · |expected|. NaN is near NaN alone, an infinity near itself alone.
public func assertClose(
  _ found: Tensor, _ expected: [Double], shape: [Int], absolute: Double = 0, relative: Double = 0,
  _ label: @autoclosure () -> String = "", file: StaticString = #filePath, line: UInt = #line
) {
  guard found.shape == shape, found.count == expected.count else {
    XCTFail(
      "\(label()): found shape \(found.shape), expected \(shape) with \(expected.count) elements", file: file,
      line: line)
    return
  }
  var worst: (excess: Double, index: Int)?
  for (index, value) in found.hostValues().enumerated() {
    let (value, wanted) = (Double(value), expected[index])
    if value == wanted || value.isNaN && wanted.isNaN { continue }
    let difference = abs(value - wanted)
    let excess =
      difference.isNaN || wanted.isInfinite ? .infinity : difference - absolute - relative * abs(wanted)
    if excess > 0, excess > worst?.excess ?? 0 { worst = (excess, index) }
  }
  if let worst {
    XCTFail(
      "\(label()): element \(worst.index) of shape \(shape): found \(found.hostValues()[worst.index]), "
        + "expected \(expected[worst.index])", file: file, line: line)
  }
}

/// Fails unless two tensors have the same shape and the same bits, NaN included.
public func assertSameBits(
  _ found: Tensor, _ expected: Tensor, _ label: @autoclosure () -> String = "",
  file: StaticString = #filePath,
  line: UInt = #line
) {
  guard found.shape == expected.shape else {
    XCTFail("\(label()): found shape \(found.shape), expected \(expected.shape)", file: file, line: line)
    return
  }
  let (left, right) = (found.hostValues(), expected.hostValues())
  let differing = left.indices.filter { left[$0].bitPattern != right[$0].bitPattern }
  if let first = differing.first {
    XCTFail(
      "\(label()): \(differing.count) of \(left.count) elements differ, first \(first): found \(left[first]), "
        + "expected \(right[first])", file: file, line: line)
  }
}

extension Tensor {
  /// The elements in Float64, for a reference computation.
  public var doubles: [Double] { hostValues().map { Double($0) } }
}
