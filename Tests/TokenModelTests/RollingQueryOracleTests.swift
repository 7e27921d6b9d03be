import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// The case `rollingq`: the released code's fusion and rotation, step by step.
///
/// Its rotation is arbitrary across the plane of query and anchor, so that what follows a rotation is compared with its
/// matrix as an input, and the matrix itself for what it must be.
final class RollingQueryOracleTests: XCTestCase {
  private static let names = [
    ("query", "attn.w_qs"), ("key", "attn.w_ks"), ("value", "attn.w_vs"), ("output", "attn.fc"),
  ]

  private func tensor(_ oracle: OracleCase, _ name: String) throws -> Tensor {
    let stored = try oracle.stored(name)
    return Tensor(try stored.floats(), shape: stored.shape)
  }

  private func model(_ oracle: OracleCase) throws -> FusionTransformer {
    var parameters: [String: Tensor] = [
      "class_token": try tensor(oracle, "param.cls_token").reshaped(to: [1, 16]),
      "head.weight": try tensor(oracle, "param.FC.weight"), "head.bias": try tensor(oracle, "param.FC.bias"),
    ]
    for (own, theirs) in Self.names {
      for part in ["weight", "bias"] {
        parameters["layers.0.\(own).\(part)"] = try tensor(oracle, "param.\(theirs).\(part)")
      }
    }
    // Made by the released code and never called.
    for part in ["weight", "bias"] { _ = try oracle.stored("param.attn.layer_norm.\(part)") }
    return try FusionTransformer(
      FusionConfiguration(
        inputs: [.init(.audio, size: 16), .init(.video, size: 16)], width: 16, outputSize: 6),
      parameters: parameters)
  }

  /// Batches of eight samples in order.
  private func batches(_ oracle: OracleCase) throws -> [[FusionInput]] {
    let (audio, video) = (try tensor(oracle, "tokens_a"), try tensor(oracle, "tokens_v"))
    return stride(from: 0, to: 24, by: 8).map { start in
      [audio, video].map { FusionInput($0.slice(start..<start + 8)) }
    }
  }

  private struct Pass {
    var layers: [FusionResult.Layer] = []
    var logits: [Float] = []
    var probabilities: [Float] = []

    func joined(_ tensor: (FusionResult.Layer) -> Tensor) -> [Float] {
      layers.flatMap { tensor($0).hostValues() }
    }
  }

  private func run(
    _ model: FusionTransformer, _ batches: [[FusionInput]], _ rolling: inout RollingQueries
  ) -> Pass {
    var options = FusionOptions()
    options.rolling = rolling
    options.computesAllRows = true
    options.request.wantsProbabilities = true
    var pass = Pass()
    for batch in batches {
      let result = model(batch, options: options)
      rolling.observe(result)
      pass.layers.append(result.layers[0])
      pass.logits += result.logits.hostValues()
      pass.probabilities += (result.layers[0].statistics?.probabilities ?? []).flatMap { $0.hostValues() }
    }
    return pass
  }

  private func compare(_ values: [Double], _ oracle: OracleCase, _ name: String) throws {
    try oracle.compare(values.map { Float($0) }, with: name, absolute: 1e-5)
  }

  func testEveryStepMatchesTheReleasedCode() throws {
    let oracle = try OracleCase("rollingq")
    let folder = try TemporaryDirectory()
    let (model, batches) = (try model(oracle), try batches(oracle))
    var options = RollingQueryOptions()
    (options.balance, options.sharpness) = (.lastBatch, 1.5)
    let fresh = try RollingQuery(
      headCount: 1, headSize: 16, modalities: [.audio, .video], options: options)

    var rolling = RollingQueries(layers: [0], fresh)
    let before = run(model, batches, &rolling)
    try oracle.compare(before.joined(\.queries), with: "before.q", absolute: 1e-5)
    try oracle.compare(before.joined(\.keys), with: "before.k", absolute: 1e-5)
    try oracle.compare(before.joined(\.values), with: "before.v", absolute: 1e-5)
    try oracle.compare(before.probabilities, with: "before.attn", absolute: 1e-5)
    try oracle.compare(before.logits, with: "before.out", absolute: 1e-5)

    let first = try XCTUnwrap(rolling[0])
    let all = first.balance.cosines(head: 0, .epoch)
    try compare([all[0] - all[1]], oracle, "AIR_all_samples")
    try compareAnchor(first, oracle, air: "AIR", alpha: "alpha", prefix: "rot")

    var matrix = try oracle.stored("rot.W").doubles()
    try checkMatrix(matrix, first, oracle, "rot.W")
    try oracle.compare(matrix.map { Float($0) }, with: "rotate_after_1", absolute: 1e-5)
    let once = try fresh.with(rotation: matrix, count: 1, in: folder)
    rolling = RollingQueries(layers: [0], once)
    let after = run(model, batches, &rolling)
    try oracle.compare(after.joined(\.classQueries), with: "after.q_cls", absolute: 1e-5)
    try oracle.compare(after.probabilities, with: "after.attn", absolute: 1e-5)
    try oracle.compare(after.logits, with: "after.out", absolute: 1e-5)

    let second = try XCTUnwrap(rolling[0])
    try compareAnchor(second, oracle, air: "AIR_after_1", alpha: nil, prefix: "rot2")
    let next = try oracle.stored("rot2.W").doubles()
    try checkMatrix(next, second, oracle, "rot2.W")
    matrix = product(next, matrix, 16)
    try compare(matrix, oracle, "rotate_after_2")
    rolling = RollingQueries(layers: [0], try fresh.with(rotation: matrix, count: 2, in: folder))
    let last = run(model, batches, &rolling)
    try oracle.compare(last.joined(\.classQueries), with: "after2.q_cls", absolute: 1e-5)
    try oracle.compare(last.probabilities, with: "after2.attn", absolute: 1e-5)
    try oracle.compare(last.logits, with: "after2.out", absolute: 1e-5)

    for (name, size) in [("unit0", 3), ("unit1", 8), ("unit2", 33)] {
      let (x, y) = (try oracle.stored("\(name).X").doubles(), try oracle.stored("\(name).Y").doubles())
      try checkMatrix(oracle.stored("\(name).W").doubles(), from: x, to: y, size: size, name)
    }
    oracle.finish()
  }

  /// Imbalance, weight, mean query and anchor.
  private func compareAnchor(
    _ query: RollingQuery, _ oracle: OracleCase, air: String, alpha: String?, prefix: String
  ) throws {
    let cosines = query.balance.cosines(head: 0, .lastBatch)
    try compare([RollingQuery.imbalance(cosines)], oracle, air)
    let weights = RollingQuery.weights(cosines, sharpness: 1.5)
    if let alpha { try compare([weights[0]], oracle, alpha) }
    try compare(query.balance.meanQuery(head: 0), oracle, "\(prefix).query_mean_X")
    try compare(XCTUnwrap(query.anchor(head: 0, weights: weights)), oracle, "\(prefix).target_Y")
  }

  private func checkMatrix(
    _ matrix: [Double], _ query: RollingQuery, _ oracle: OracleCase, _ name: String
  ) throws {
    let weights = RollingQuery.weights(query.balance.cosines(head: 0, .lastBatch), sharpness: 1.5)
    try checkMatrix(
      matrix, from: query.balance.meanQuery(head: 0),
      to: XCTUnwrap(query.anchor(head: 0, weights: weights)), size: 16, name)
  }

  /// Their matrix maps x to y, as ours do; it is theirs across the plane alone.
  private func checkMatrix(
    _ matrix: [Double], from x: [Double], to y: [Double], size: Int, _ name: String
  ) throws {
    let (source, target) = (QueryRotation.unit(x), QueryRotation.unit(y))
    let gram = product(transposed(matrix, size), matrix, size)
    for (found, expected) in zip(gram, QueryRotation.identity(size)) {
      XCTAssertEqual(found, expected, accuracy: 5e-6, name)
    }
    var stream = RandomStream(seed: 0, purpose: "rollingq.svd")
    for rotation in [
      QueryRotation.minimal(from: x, to: y), .arbitrary(from: x, to: y, using: &stream),
    ] {
      let own = rotation.applied(to: source)
      for row in 0..<size {
        let theirs = QueryRotation.product(Array(matrix[row * size..<(row + 1) * size]), source)
        XCTAssertEqual(theirs, target[row], accuracy: 5e-6, name)
        XCTAssertEqual(own[row], theirs, accuracy: 5e-6, name)
      }
    }
  }

  private func product(_ left: [Double], _ right: [Double], _ size: Int) -> [Double] {
    var product = [Double](repeating: 0, count: size * size)
    for row in 0..<size {
      for inner in 0..<size {
        for column in 0..<size {
          product[row * size + column] += left[row * size + inner] * right[inner * size + column]
        }
      }
    }
    return product
  }

  private func transposed(_ matrix: [Double], _ size: Int) -> [Double] {
    (0..<size * size).map { matrix[$0 % size * size + $0 / size] }
  }
}
