import Foundation
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import ClassicBench

/// What the generator says its modalities know of the label is what they know.
final class SyntheticDataTests: XCTestCase {
  /// I(X; Y) of pairs in bits by their frequencies, less the bias of Miller and Madow.
  private func information<X: Hashable>(_ pairs: [(X, Int)]) -> Double {
    func entropy<Key: Hashable>(_ keys: [Key]) -> (Double, Int) {
      var counts: [Key: Int] = [:]
      for key in keys { counts[key, default: 0] += 1 }
      let total = Double(keys.count)
      let sum = counts.values.reduce(0.0) { $0 - Double($1) / total * log2(Double($1) / total) }
      return (sum, counts.count)
    }
    let (x, xCount) = entropy(pairs.map(\.0))
    let (y, yCount) = entropy(pairs.map(\.1))
    let (xy, xyCount) = entropy(pairs.map { [AnyHashable($0.0), AnyHashable($0.1)] })
    let bias = Double(xyCount - xCount - yCount + 1) / (2 * Double(pairs.count) * log(2))
    return x + y - xy - bias
  }

  private func options(_ redundant: Double, _ unique: [Double], _ synergy: Double) -> SyntheticData.Options {
    var options = SyntheticData.Options()
    (options.redundant, options.unique, options.synergy) = (redundant, unique, synergy)
    (options.noise, options.samples, options.seed) = (0, 20_000, 7)
    options.names = Array(["audio", "visual", "text"].prefix(unique.count))
    return options
  }

  /// With 20 000 samples and at most 64 x 32 cells the frequencies give each amount to 0.02 bit.
  func testModalitiesKnowWhatIsAskedFor() throws {
    let cases: [(Double, [Double], Double)] = [
      (1, [1, 0], 0), (0, [2, 1], 0), (1, [0, 0], 1), (0, [0, 0], 2), (0.5, [1.5, 0.25], 0),
      (0.3, [0.6, 0], 0.7), (1, [1, 0, 1], 0), (0, [0, 0, 0], 1), (0.5, [0, 1, 0], 0.5),
    ]
    for (redundant, unique, synergy) in cases {
      let data = try SyntheticData(options(redundant, unique, synergy))
      let samples = data.listing().splits.flatMap { $0 }
      XCTAssertEqual(samples.count, 20_000)
      // What a modality says is its vector, bit for bit, since there is no noise.
      let words = samples.map { sample in
        sample.parts.map { part -> [Float] in if case .values(let values) = part { values } else { [] } }
      }
      for modality in unique.indices {
        let found = information(words.indices.map { (words[$0][modality], samples[$0].label) })
        XCTAssertEqual(
          found, redundant + unique[modality], accuracy: 0.02,
          "modality \(modality) of \(redundant) \(unique) \(synergy)")
      }
      let joint = information(words.indices.map { (words[$0], samples[$0].label) })
      XCTAssertEqual(joint, redundant + unique.reduce(0, +) + synergy, accuracy: 0.03)
      // Any all-but-one of the modalities know nothing of the synergy.
      let most = information(words.indices.map { (Array(words[$0].dropLast()), samples[$0].label) })
      XCTAssertEqual(most, redundant + unique.dropLast().reduce(0, +), accuracy: 0.03)
    }
  }

  func testNoiseHidesAndTheSeedDecides() throws {
    var options = options(1, [1, 0], 0)
    (options.samples, options.noise) = (50, 0.1)
    let first = try SyntheticData(options).listing()
    let again = try SyntheticData(options).listing()
    func values(_ listing: DataListing) -> [[Float]] {
      listing.splits.flatMap { $0 }.flatMap(\.parts).map { part in
        if case .values(let values) = part { values } else { [] }
      }
    }
    XCTAssertEqual(values(first), values(again))
    XCTAssertEqual(Set(values(first)).count, 100, "noise makes each vector its own")
    XCTAssertEqual(first.counts, [35, 5, 10])
    options.seed += 1
    XCTAssertNotEqual(values(first), values(try SyntheticData(options).listing()))
  }

  func testImpossibleRequestsAreRefused() {
    func code(_ options: SyntheticData.Options) -> SyntheticError.Code? {
      do {
        _ = try SyntheticData(options)
        return nil
      } catch {
        XCTAssertNotNil((error as? SyntheticError)?.errorDescription)
        XCTAssertNotNil((error as? SyntheticError)?.recoverySuggestion)
        return (error as? SyntheticError)?.code
      }
    }
    XCTAssertEqual(code(options(6, [3, 3], 0)), .badBits)
    XCTAssertEqual(code(options(0, [0, 0], 0)), .badBits)
    var few = options(1, [1, 1], 0)
    few.unique = [1]
    XCTAssertEqual(code(few), .wrongCount)
    var same = options(1, [1, 1], 0)
    same.names = ["a", "a"]
    XCTAssertEqual(code(same), .badNames)
  }

  func testWhatIsPackedIsWhatWasMade() throws {
    var options = options(1, [2, 0], 1)
    options.samples = 200
    let listing = try SyntheticData(options).listing()
    let tree = try DataTree()
    let packer = try DataPacker(listing, name: "synthetic")
    guard
      case .complete(let packed) = try packer.pack(
        to: tree.output(), mode: .fresh, threads: 2, progress: { _, _ in })
    else { return XCTFail("stopped") }
    XCTAssertEqual(packed.manifest.classes.count, 16)
    let data = try packed.data([Modality(rawValue: "visual"), .audio])
    let batch = data.test.batch([3, 39])
    for (place, index) in [3, 39].enumerated() {
      guard case .values(let expected) = listing.splits[2][index].parts[1] else {
        return XCTFail("no vector")
      }
      XCTAssertEqual(Array(batch.inputs[0].hostValues()[place * 32..<(place + 1) * 32]), expected)
    }
  }
}
