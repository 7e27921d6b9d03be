import XCTest

@testable import RunKit

final class StreamingMomentsTests: XCTestCase {
  private let values: [Double] = {
    var stream = RandomStream(seed: 3, purpose: "moments")
    return (0..<500).map { _ in 1e3 + stream.normal() }
  }()

  /// Tolerance: two orders of summing 500 numbers near 1,000 in double precision.
  func testMomentsAreThoseOfTheTwoPassFormulas() {
    let moments = StreamingMoments(values)
    let mean = values.reduce(0, +) / 500
    let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    XCTAssertEqual(moments.count, 500)
    XCTAssertEqual(moments.mean, mean, accuracy: 1e-10)
    XCTAssertEqual(moments.sampleVariance ?? .nan, squares / 499, accuracy: 1e-10)
    XCTAssertEqual(moments.standardError ?? .nan, (squares / 499 / 500).squareRoot(), accuracy: 1e-12)
    XCTAssertEqual(moments.minimum, values.min())
    XCTAssertEqual(moments.maximum, values.max())
  }

  /// Tolerance: relative 1e-12, the promise for merged shards.
  func testMergedPartsAreTheWhole() {
    let whole = StreamingMoments(values)
    for cuts in [[0, 500], [0, 1, 500], [0, 0, 250, 250, 500], [0, 166, 333, 500]] {
      var merged = StreamingMoments()
      for (start, end) in zip(cuts, cuts.dropFirst()) { merged.merge(StreamingMoments(values[start..<end])) }
      XCTAssertEqual(merged.count, 500)
      XCTAssertEqual(merged.mean / whole.mean, 1, accuracy: 1e-12)
      XCTAssertEqual(merged.sumOfSquares / whole.sumOfSquares, 1, accuracy: 1e-12)
      XCTAssertEqual(merged.minimum, whole.minimum)
      XCTAssertEqual(merged.maximum, whole.maximum)
    }
  }

  func testNothingAndOneNumberHaveNoVariance() {
    XCTAssertNil(StreamingMoments().sampleVariance)
    XCTAssertNil(StreamingMoments([1]).standardError)
    XCTAssertNil(StudentT.interval(of: StreamingMoments([1])))
  }

  func testANumberThatIsNotFiniteShows() {
    XCTAssertTrue(StreamingMoments([1, .nan, 2]).mean.isNaN)
    XCTAssertNil(StudentT.interval(of: StreamingMoments([1, .nan, 2])))
  }

  func testArraysKeepTheMomentsOfEveryElement() {
    var arrays = StreamingMomentsArray(shape: [2, 3])
    var parts = [StreamingMomentsArray](repeating: arrays, count: 2)
    for row in 0..<80 {
      let array = Array(values[6 * row..<6 * row + 6])
      arrays.add(array)
      parts[row % 2].add(array)
    }
    parts[0].merge(parts[1])
    for element in 0..<6 {
      let expected = StreamingMoments((0..<80).map { values[6 * $0 + element] })
      XCTAssertEqual(arrays[element], expected)
      XCTAssertEqual(parts[0][element].mean / expected.mean, 1, accuracy: 1e-12)
      XCTAssertEqual(parts[0][element].sumOfSquares / expected.sumOfSquares, 1, accuracy: 1e-12)
    }
    XCTAssertEqual(parts[0].count, 80)
  }
}

final class StudentTTests: XCTestCase {
  /// Values of SciPy 1. Tolerance: its own digits, relative.
  func testQuantilesAndProbabilitiesAreTheTabulated() {
    let rows: [(Double, Double, Double, Double)] = [
      (1, 12.706204736174694, 3.0776835371752544, 0.10241638234956672),
      (2, 4.302652729749462, 1.8856180831641272, 0.04773298313335456),
      (4, 2.7764451051977934, 1.533206274058944, 0.019970984035859413),
      (10, 2.228138851986274, 1.372183641110336, 0.006671827511284785),
      (30, 2.0422724563012378, 1.3104150253913955, 0.0026949820328259727),
      (199, 1.9719565442517533, 1.2858202092594093, 0.001522413362553087),
      (1e6, 1.959966356814107, 1.281552412129939, 0.0013499312707109),
    ]
    for (degrees, high, middle, tail) in rows {
      XCTAssertEqual(StudentT.quantile(0.975, degreesOfFreedom: degrees) / high, 1, accuracy: 1e-9)
      XCTAssertEqual(StudentT.quantile(0.9, degreesOfFreedom: degrees) / middle, 1, accuracy: 1e-9)
      XCTAssertEqual(StudentT.quantile(0.1, degreesOfFreedom: degrees) / -middle, 1, accuracy: 1e-9)
      XCTAssertEqual(StudentT.probability(below: -3, degreesOfFreedom: degrees) / tail, 1, accuracy: 1e-8)
    }
    XCTAssertEqual(StudentT.quantile(0.5, degreesOfFreedom: 3), 0)
  }

  /// 95 % of 4,000 simulated samples, ± 1.4 %: four standard errors of the share.
  func testIntervalsCoverTheMean() {
    var stream = RandomStream(seed: 1, purpose: "coverage")
    let covered = (0..<4000).count { _ in
      let moments = StreamingMoments((0..<8).map { _ in stream.normal() })
      return StudentT.interval(of: moments).map { $0.lower <= 0 && 0 <= $0.upper } ?? false
    }
    XCTAssertEqual(Double(covered) / 4000, 0.95, accuracy: 0.014)
  }
}
