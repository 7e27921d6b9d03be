import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// Reference values of the transformers library, set by set.
struct MediaOracle {
  let name: String
  let oracle: OracleCase
  /// Each set's name, its settings and everything else `case.json` says of it.
  let sets: [(name: String, settings: ConfigurationReader, facts: JSONValue)]

  init(_ name: String) throws {
    self.name = name
    oracle = try OracleCase(name)
    sets = try (oracle.description["sets"]?.arrayValue ?? []).map { set in
      let settings = set["configuration"] ?? .object(JSONObject())
      return (
        try XCTUnwrap(set["name"]?.stringValue),
        try ConfigurationReader(path: "\(name)/case.json", bytes: Array(settings.text().utf8)), set
      )
    }
    XCTAssertGreaterThan(sets.count, 0)
  }

  /// Pictures stored as `[height, width, 3]` or `[frames, height, width, 3]`.
  func pictures(_ tensor: String) throws -> [RGBImage] {
    let stored = try oracle.stored(tensor)
    let (height, width) = (stored.shape[stored.shape.count - 3], stored.shape[stored.shape.count - 2])
    let levels = try stored.integers().map { UInt8($0) }
    let size = 3 * height * width
    return stride(from: 0, to: levels.count, by: size).map {
      RGBImage(height: height, width: width, pixels: Array(levels[$0..<$0 + size]))
    }
  }

  /// Compares a medium's values and shape; the tolerance of 1e-6 allows for the last place of a quotient.
  func compare(_ medium: Medium, with tensor: String, tolerance: Double = 1e-6) throws {
    guard case .numbers(let numbers) = medium.values else { return XCTFail("\(name): no numbers") }
    let shape = try oracle.stored(tensor).shape
    // Some are stored as a batch of one.
    let isBatch = shape.count == medium.shape.count + 1 && shape[0] == 1
    XCTAssertEqual(medium.shape, isBatch ? Array(shape.dropFirst()) : shape, "\(name) \(tensor)")
    try oracle.compare(numbers, with: tensor, absolute: tolerance)
  }
}
