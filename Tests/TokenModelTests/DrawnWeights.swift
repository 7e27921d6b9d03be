import Foundation
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// The weights and inputs of `Benchmarks/oracles/make_encoders.py`, drawn again from their names.
enum DrawnWeights {
  /// FNV-1a of a name.
  static func seed(_ name: String) -> UInt64 {
    name.utf8.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
  }

  /// The values of a parameter or buffer, in the shape of its file.
  static func tensor(_ name: String, _ shape: [Int]) -> Tensor {
    if shape.count > 1 {
      let inputs = Double(shape.dropFirst().reduce(1, *))
      return randomTensor(shape, seed: seed(name), scale: Float((3 / inputs).squareRoot()))
    }
    if name.hasSuffix("bias") || name.hasSuffix("running_mean") {
      return randomTensor(shape, seed: seed(name), scale: 0.1)
    }
    return randomTensor(shape, seed: seed(name), scale: 0.25) + 1
  }

  /// A parameter of a Hugging Face model: its name in files, and the one its values were drawn by.
  struct Parameter {
    let name: String
    let drawn: String
    let shape: [Int]
  }

  /// The list in a case.
  static func parameters(of oracle: OracleCase) throws -> [Parameter] {
    try XCTUnwrap(oracle.description["parameters"]?.arrayValue).map { entry in
      Parameter(
        name: try XCTUnwrap(entry["name"]?.stringValue), drawn: try XCTUnwrap(entry["drawn"]?.stringValue),
        shape: try XCTUnwrap(entry["shape"]?.arrayValue).map { try XCTUnwrap($0.intValue) })
    }
  }

  /// Writes a folder as a checkpoint from the Hub.
  static func write(_ oracle: OracleCase, to folder: TemporaryDirectory) throws {
    let stored = try parameters(of: oracle).map {
      try StoredTensor(name: $0.name, shape: $0.shape, floats: tensor($0.drawn, $0.shape).hostValues())
    }
    try SafetensorsWriter.write(tensors: stored, to: folder.path + "/model.safetensors")
    let configuration = try XCTUnwrap(oracle.description["configuration"])
    try Data(configuration.text().utf8).write(to: URL(fileURLWithPath: folder.path + "/config.json"))
  }

  /// The largest difference of gradients from a list of summaries, relative to the largest number of each gradient.
  ///
  /// A summary is sixteen numbers of a gradient, its sum, the sum of its magnitudes and its largest magnitude. A gradient that
  /// is 0 but for rounding, as that of the bias of keys, is measured by a thousandth of the largest of all.
  static func worstGradient(
    _ found: [[Float]], _ oracle: OracleCase, _ name: String, file: StaticString = #filePath,
    line: UInt = #line
  ) throws -> Double {
    let expected = try oracle.stored(name).doubles()
    XCTAssertEqual(found.count * 19, expected.count, "\(name): number of gradients", file: file, line: line)
    let rows = stride(from: 0, to: expected.count, by: 19).map { Array(expected[$0..<$0 + 19]) }
    let largest = rows.map { $0[18] }.max() ?? 0
    var worst = 0.0
    for (gradient, row) in zip(found, rows) {
      let scale = row[18] > 1e-6 * largest ? row[18] : 1e-3 * largest
      let values = gradient.map { Double($0) }
      let sums = [values.reduce(0, +), values.reduce(0) { $0 + abs($1) }]
      let samples = (0..<16).map { values[$0 * values.count / 16] }
      var errors = zip(samples, row).map { abs($0 - $1) / scale }
      errors += zip(sums, row[16...17]).map { abs($0 - $1) / max(row[17], scale) }
      errors.append(abs((values.map { abs($0) }.max() ?? 0) - row[18]) / scale)
      for error in errors { worst = error.isNaN ? .infinity : max(worst, error) }
    }
    return worst
  }
}
