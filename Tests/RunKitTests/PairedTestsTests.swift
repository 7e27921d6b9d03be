import XCTest

@testable import RunKit

final class PairedTestsTests: XCTestCase {
  /// Values of R's t.test and binom.test, six digits.
  func testKnownValues() throws {
    XCTAssertEqual(try XCTUnwrap(PairedTests.tTest([1, 2, 3, 4, 5])), 0.013236, accuracy: 5e-7)
    XCTAssertEqual(try XCTUnwrap(PairedTests.tTest([-1, -2, -3, -4, -5])), 0.013236, accuracy: 5e-7)
    // Two differences: Student's t with one degree of freedom is Cauchy's, p = 1 − (2/π) arctan |t|, t = 3.
    XCTAssertEqual(try XCTUnwrap(PairedTests.tTest([1, 2])), 0.204833, accuracy: 5e-7)
    XCTAssertEqual(PairedTests.mcNemar(onlyBefore: 2, onlyAfter: 8), 0.109375, accuracy: 1e-12)
    XCTAssertEqual(PairedTests.mcNemar(onlyBefore: 8, onlyAfter: 2), 0.109375, accuracy: 1e-12)
    XCTAssertEqual(PairedTests.mcNemar(onlyBefore: 0, onlyAfter: 5), 0.0625, accuracy: 1e-12)
    XCTAssertEqual(PairedTests.mcNemar(onlyBefore: 3, onlyAfter: 3), 1)
    XCTAssertEqual(PairedTests.mcNemar(onlyBefore: 0, onlyAfter: 0), 1)
    let many = PairedTests.mcNemar(onlyBefore: 4_000, onlyAfter: 4_400)
    // The normal approximation with its continuity correction: z = 399 / √8400.
    let normal = 2 * StudentT.probability(below: -399 / 8_400.0.squareRoot(), degreesOfFreedom: 1e9)
    XCTAssertEqual(many, normal, accuracy: 1e-2 * normal)
  }

  func testWithoutASpreadThereIsNoTest() {
    XCTAssertNil(PairedTests.tTest([]))
    XCTAssertNil(PairedTests.tTest([1]))
    XCTAssertNil(PairedTests.tTest([1, .nan]))
    XCTAssertEqual(PairedTests.tTest([0, 0, 0]), 1)
    XCTAssertEqual(PairedTests.tTest([0.1, 0.1, 0.1]), 0)
    XCTAssertNil(PairedTests.tTest([1, 2, 3], clusters: Clusters(keys: ["a", "a", "a"])))
  }

  /// Each sample twice in a cluster of its own is as many samples as clusters; as independent samples it would be twice.
  func testClustersCountOnce() throws {
    let differences = [0.3, -0.1, 0.7, 0.2, 0.9, -0.4]
    let twice = differences.flatMap { [$0, $0] }
    let keys = differences.indices.flatMap { ["\($0)", "\($0)"] }
    let alone = try XCTUnwrap(PairedTests.tTest(differences))
    XCTAssertEqual(
      try XCTUnwrap(PairedTests.tTest(twice, clusters: Clusters(keys: keys))), alone, accuracy: 1e-12)
    XCTAssertLessThan(try XCTUnwrap(PairedTests.tTest(twice)), alone)
  }

  /// Without a difference one test in twenty is below 0.05. Tolerance: three standard errors of 2,000 trials are 1.5 %.
  func testTheErrorOfTheFirstKindIsTheLevel() throws {
    var stream = RandomStream(seed: 8, purpose: "test")
    var (plain, clustered) = (0, 0)
    for _ in 0..<2_000 {
      let differences = (0..<12).map { _ in stream.normal() }
      if try XCTUnwrap(PairedTests.tTest(differences)) < 0.05 { plain += 1 }
      // Twenty clusters of three samples that share half of their variance.
      var values: [Double] = []
      for _ in 0..<20 {
        let shared = stream.normal()
        values += (0..<3).map { _ in shared + stream.normal() }
      }
      let keys = values.indices.map { "\($0 / 3)" }
      if try XCTUnwrap(PairedTests.tTest(values, clusters: Clusters(keys: keys))) < 0.05 { clustered += 1 }
    }
    XCTAssertEqual(Double(plain) / 2_000, 0.05, accuracy: 0.015)
    XCTAssertEqual(Double(clustered) / 2_000, 0.05, accuracy: 0.015)
  }

  func testHolm() {
    let corrected = PairedTests.holm([0.01, nil, 0.04, 0.03, 0.005])
    let expected: [Double?] = [0.03, nil, 0.06, 0.06, 0.02]
    for (found, wanted) in zip(corrected, expected) {
      XCTAssertEqual(found == nil, wanted == nil)
      XCTAssertEqual(found ?? 0, wanted ?? 0, accuracy: 1e-12)
    }
    XCTAssertEqual(PairedTests.holm([0.7, 0.9]), [1, 1])
    XCTAssertEqual(PairedTests.holm([0.02]), [0.02])
    XCTAssertEqual(PairedTests.holm([]), [])
  }
}
