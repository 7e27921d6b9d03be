import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// What rebalancing promises, on a small fusion of two or three modalities.
final class RollingQueryTests: XCTestCase {
  /// Rotated once, after one batch.
  private func rotated(
    _ batch: FusionBatch, _ change: (inout RollingQueryOptions) -> Void = { _ in }
  ) throws -> (rolling: RollingQueries, events: [RollingQueryEvent]) {
    var options = RollingQueryOptions()
    change(&options)
    var rolling = try batch.rolling(options)
    rolling.observe(try batch.model()(batch.inputs))
    let events = rolling.endEpoch(0)
    return (rolling, events)
  }

  private func run(_ batch: FusionBatch, _ rolling: RollingQueries?, allRows: Bool = false) throws
    -> FusionResult
  {
    var options = FusionOptions()
    (options.rolling, options.computesAllRows) = (rolling, allRows)
    options.request.wantsGroupMass = true
    return try batch.model()(batch.inputs, options: options)
  }

  // MARK: Weights and imbalance

  func testWeightsFallWithTheImbalance() {
    for sharpness in [0.3, 1.0, 5.0] {
      var last = 1.0
      for step in 0...40 {
        let imbalance = -2 + 0.1 * Double(step)
        let cosines = [0.3 + imbalance / 2, 0.3 - imbalance / 2]
        let weight = RollingQuery.weights(cosines, sharpness: sharpness)[0]
        XCTAssertEqual(weight, 0.5 * (1 + tanh(-sharpness * imbalance)), accuracy: 1e-12)
        XCTAssertLessThan(weight, last)
        let mirrored = RollingQuery.weights([cosines[1], cosines[0]], sharpness: sharpness)[0]
        XCTAssertEqual(weight + mirrored, 1, accuracy: 1e-12)
        last = weight
      }
    }
    XCTAssertEqual(RollingQuery.weights([0.9, -0.7], sharpness: 0), [0.5, 0.5])
    let three = RollingQuery.weights([0.9, 0.1, -0.5], sharpness: 1)
    XCTAssertEqual(three.reduce(0, +), 1, accuracy: 1e-12)
    XCTAssertLessThan(three[0], three[1])
    XCTAssertLessThan(three[1], three[2])
    XCTAssertEqual(RollingQuery.imbalance([0.9, 0.1, -0.5]), 1.4, accuracy: 1e-12)
    XCTAssertEqual(RollingQuery.imbalance([0.1, 0.9]), -0.8, accuracy: 1e-12)
  }

  private func imbalance(_ queries: Tensor, _ keys: Tensor, audio: [Int], video: [Int]) throws -> Double {
    var query = try RollingQuery(
      headCount: 1, headSize: queries.columns, modalities: [.audio, .video])
    query.observe(
      queries: queries, keys: keys, [.init(queries: Array(0..<queries.rows), keys: [audio, video])])
    return RollingQuery.imbalance(query.balance.cosines(head: 0, .epoch))
  }

  func testTheImbalanceIsOneOfDirections() throws {
    let (queries, keys) = (randomTensor([6, 5], seed: 1), randomTensor([9, 5], seed: 2))
    let (audio, video) = ([0, 1, 2, 3], [4, 5, 6, 7, 8])
    let plain = try imbalance(queries, keys, audio: audio, video: video)
    XCTAssertTrue((-2...2).contains(plain))
    XCTAssertNotEqual(plain, 0)
    XCTAssertEqual(try imbalance(queries, keys, audio: video, video: audio), -plain, accuracy: 1e-12)
    XCTAssertEqual(try imbalance(queries, keys, audio: audio, video: audio), 0)
    // Powers of two keep every digit.
    XCTAssertEqual(try imbalance(4 * queries, keys, audio: audio, video: video), plain, accuracy: 1e-12)
    let scale = Tensor(keys.shape[0] == 9 ? [8, 8, 8, 8, 1, 1, 1, 1, 1] : [], shape: [9, 1])
    XCTAssertEqual(try imbalance(queries, keys * scale, audio: audio, video: video), plain, accuracy: 1e-12)
  }

  /// Two audio keys that point where the query does against fifty video keys that hardly do: the imbalance is for audio,
  /// the attention on video. Nobody may take one for the other.
  func testTheImbalanceIsNotAttentionMass() throws {
    let query = Tensor([1, 0], shape: [1, 2])
    let keys = Tensor([1, 0, 1, 0] + (0..<50).flatMap { _ in [Float(0.5), 1] }, shape: [52, 2])
    let (audio, video) = ([0, 1], Array(2..<52))
    XCTAssertGreaterThan(try imbalance(query, keys, audio: audio, video: video), 0.5)
    var request = AttentionRequest()
    (request.wantsGroupMass, request.groupCount) = (true, 2)
    request.groups = audio.map { _ in 0 } + video.map { _ in 1 }
    let statistics = Attention(heads: 1, keyValueHeads: 1, headSize: 2)(
      queries: query, keys: keys, values: keys, sequences: [.init(queries: 0..<1, keys: 0..<52)],
      mask: .full, request: request
    ).statistics
    let mass = try XCTUnwrap(statistics?.groupMass).hostValues()
    XCTAssertLessThan(mass[0], mass[1])
  }

  // MARK: Rotation

  func testTheMeanQueryPointsToTheAnchorAfterwards() throws {
    for kind in RollingQueryOptions.Rotation.allCases {
      let batch = FusionBatch.pair { $0.headCount = 2 }
      var before = try batch.rolling()
      before.observe(try run(batch, nil))
      let (rolling, events) = try rotated(batch) { ($0.rotation, $0.sharpness) = (kind, 2) }
      XCTAssertEqual(events.map(\.outcome), [.rotated, .rotated])
      var after = rolling
      after.observe(try run(batch, rolling))
      for (head, event) in events.enumerated() {
        let (old, new) = (try XCTUnwrap(before[0]), try XCTUnwrap(after[0]))
        let anchor = try XCTUnwrap(old.anchor(head: head, weights: event.weights))
        for (found, expected) in zip(new.balance.meanQuery(head: head), anchor) {
          XCTAssertEqual(found, expected, accuracy: 2e-6, "\(kind)")
        }
        let cosine = AttentionBalance.cosine(old.balance.meanQuery(head: head), anchor)
        XCTAssertEqual(event.angle, acos(cosine), accuracy: 1e-9)
        // cos(y, b) − cos(y, a) = (1 − 2α)(1 − aᵀb) / |αa + (1 − α)b| for the unit mean keys a and b.
        let directions = (0..<2).map {
          QueryRotation.unit(old.balance.meanKey(head: head, modality: $0))
        }
        let (a, b) = (directions[0], directions[1])
        let alpha = event.weights[0]
        let mix = zip(a, b).map { alpha * $0 + (1 - alpha) * $1 }
        let expected =
          (1 - 2 * alpha) * (1 - QueryRotation.product(a, b)) / QueryRotation.length(mix)
        let found = AttentionBalance.cosine(anchor, b) - AttentionBalance.cosine(anchor, a)
        XCTAssertEqual(found, expected, accuracy: 1e-12)
        // The modality that was favoured is no longer: the anchor is nearer to the other one.
        XCTAssertEqual(found > 0, event.imbalance > 0, "\(kind)")
      }
    }
  }

  func testNothingButTheClassTokenIsTouched() throws {
    let batch = FusionBatch.pair()
    let plain = try run(batch, nil, allRows: true).layers[0]
    let turned = try run(batch, rotated(batch).rolling, allRows: true).layers[0]
    assertSameBits(turned.keys, plain.keys)
    assertSameBits(turned.values, plain.values)
    let classRows = [0, 13, 26, 39]
    let others = (0..<52).filter { !classRows.contains($0) }
    assertSameBits(turned.queries.gatherRows(others), plain.queries.gatherRows(others))
    let (found, expected) = (
      try XCTUnwrap(turned.statistics?.groupMass), try XCTUnwrap(plain.statistics?.groupMass)
    )
    assertSameBits(found.gatherRows(others), expected.gatherRows(others))
    XCTAssertNotEqual(found.gatherRows(classRows), expected.gatherRows(classRows))
  }

  func testQueriesThatWereNotRotatedPassUnchanged() throws {
    let batch = FusionBatch.pair()
    let rolling = try batch.rolling()
    assertSameBits(try run(batch, rolling).logits, try run(batch, nil).logits)
    XCTAssertTrue(try XCTUnwrap(rolling[0]).isIdentity)
  }

  /// dL/dq = Rᵀ dL/dq′, and by differences.
  func testTheGradientGoesBackThroughTheRotation() throws {
    for kind in RollingQueryOptions.Rotation.allCases {
      let query = try XCTUnwrap(
        rotated(FusionBatch.pair { $0.headCount = 2 }, { $0.rotation = kind }).rolling[0])
      let (values, weights) = (randomTensor([3, 8], seed: 4), randomTensor([3, 8], seed: 5))
      let tape = Tape()
      let leaf = tape.leaf(values)
      let loss = (query.rotate(leaf) * weights).total()
      let gradient = try XCTUnwrap(tape.gradients(of: loss, for: [leaf])[0])
      let expected = Tensor.concatenatedColumns(
        (0..<2).map { head in
          let part = weights.columns(head * 4..<head * 4 + 4)
          return kind == .reset ? part : part.matmul(query.rotation(head: head))
        })
      assertClose(gradient, expected.doubles, shape: [3, 8], absolute: 1e-6, "\(kind)")
      // The map is linear up to a shift, so a difference has no error but that of rounding.
      let direction = randomTensor([3, 8], seed: 6)
      func value(_ sign: Float) -> Double {
        (query.rotate(values + sign * direction) * weights).total().doubles[0]
      }
      XCTAssertEqual(
        (gradient * direction).total().doubles[0], (value(1) - value(-1)) / 2, accuracy: 1e-5, "\(kind)")
    }
  }

  // MARK: State

  func testStateIsSavedAndRestored() throws {
    let folder = try TemporaryDirectory()
    for kind in RollingQueryOptions.Rotation.allCases {
      let batch = FusionBatch.pair { ($0.layerCount, $0.block, $0.headCount) = (2, .residual, 2) }
      var (rolling, _) = try rotated(batch) { $0.rotation = kind }
      // In the middle of the next epoch.
      rolling.observe(try run(batch, rolling))
      let path = folder.path + "/\(kind).safetensors"
      try SafetensorsWriter.write(tensors: rolling.storedBuffers(prefix: "rollingq."), to: path)
      var options = RollingQueryOptions()
      options.rotation = kind
      var restored = try batch.rolling(options)
      try restored.restoreBuffers(
        from: BufferSource(try SafetensorsFile(path: path), prefix: "rollingq."))
      XCTAssertEqual(restored[0]?.counts, rolling[0]?.counts)
      assertSameBits(try run(batch, restored).logits, try run(batch, rolling).logits)
      XCTAssertNotEqual(try run(batch, restored).logits, try run(batch, nil).logits)
      XCTAssertEqual(restored.endEpoch(1), rolling.endEpoch(1))
      assertSameBits(try run(batch, restored).logits, try run(batch, rolling).logits)
    }
  }

  func testBuffersThatDoNotFitAreRefused() throws {
    let folder = try TemporaryDirectory()
    let query = try RollingQuery(headCount: 1, headSize: 4, modalities: [.audio, .video])
    func restoring(_ change: (StoredTensor) throws -> StoredTensor?) throws -> RollingQueryError? {
      let path = folder.path + "/changed.safetensors"
      try SafetensorsWriter.write(tensors: query.storedBuffers().compactMap(change), to: path)
      var other = query
      do {
        try other.restoreBuffers(from: BufferSource(try SafetensorsFile(path: path)))
        return nil
      } catch {
        return error as? RollingQueryError
      }
    }
    XCTAssertNil(try restoring { $0 })
    let zeros = [Double](repeating: 0, count: 16)
    let flat = try restoring {
      $0.name == "rotation" ? try StoredTensor(name: $0.name, shape: [1, 4, 4], doubles: zeros) : $0
    }
    XCTAssertEqual(flat?.code, .impossibleBuffer)
    let small = try restoring {
      $0.name == "rotation" ? try StoredTensor(name: $0.name, shape: [1, 2, 2], doubles: [1, 0, 0, 1]) : $0
    }
    XCTAssertEqual(small?.code, .wrongShape)
    let negative = try restoring {
      $0.name == "count" ? try StoredTensor(name: $0.name, shape: [1], integers: [-1]) : $0
    }
    XCTAssertEqual(negative?.code, .impossibleBuffer)
    let endless = try restoring {
      $0.name == "shift" ? try StoredTensor(name: $0.name, shape: [1, 4], doubles: [0, .nan, 0, 0]) : $0
    }
    XCTAssertEqual(endless?.code, .impossibleBuffer)
    let rows = [1.0, 0, 0, 0]
    let equal = try restoring {
      $0.name == "rotation"
        ? try StoredTensor(name: $0.name, shape: [1, 4, 4], doubles: rows + rows + rows + rows) : $0
    }
    XCTAssertEqual(equal?.code, .impossibleBuffer)
    let mirror = try restoring {
      $0.name == "rotation"
        ? try StoredTensor(
          name: $0.name, shape: [1, 4, 4], doubles: [-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]) : $0
    }
    XCTAssertEqual(mirror?.code, .impossibleBuffer)
    for error in [flat, small, negative, endless, equal, mirror] {
      XCTAssertEqual(error?.exitStatus, .data)
      XCTAssertEqual(error?.path, folder.path + "/changed.safetensors")
    }
  }

  // MARK: When it rotates

  func testHeadsRotateAtTheThresholdAndNoMoreOftenThanAllowed() throws {
    let batch = FusionBatch.pair()
    let imbalance = abs(try rotated(batch).events[0].imbalance)
    XCTAssertEqual(try rotated(batch) { $0.threshold = imbalance }.events[0].outcome, .rotated)
    XCTAssertEqual(
      try rotated(batch) { $0.threshold = imbalance.nextUp }.events[0].outcome, .balanced)
    XCTAssertEqual(try rotated(batch) { $0.limit = 0 }.events[0].outcome, .limit)
    var rolling = try rotated(batch) { $0.limit = 2 }.rolling
    for expected in [RollingQueryEvent.Outcome.rotated, .limit] {
      rolling.observe(try run(batch, rolling))
      XCTAssertEqual(rolling.endEpoch(1)[0].outcome, expected)
    }
    XCTAssertEqual(rolling[0]?.counts, [2])
    XCTAssertEqual(rolling.endEpoch(2)[0].outcome, .unseen)
  }

  func testLayersRotateFromTheBottomUp() throws {
    let batch = FusionBatch.pair { ($0.layerCount, $0.block) = (3, .residual) }
    var rolling = try batch.rolling()
    var outcomes: [[RollingQueryEvent.Outcome]] = []
    for epoch in 0..<4 {
      rolling.observe(try run(batch, rolling))
      outcomes.append(rolling.endEpoch(epoch).map(\.outcome))
    }
    XCTAssertEqual(
      outcomes,
      [
        [.rotated, .waiting, .waiting], [.limit, .rotated, .waiting], [.limit, .limit, .rotated],
        [.limit, .limit, .limit],
      ])
  }

  func testTheLastBatchOrTheEpochIsMeasured() throws {
    let batch = FusionBatch.pair()
    let halves = [0..<2, 2..<4].map { half in
      zip(batch.inputs, [5, 7]).map { input, length in
        FusionInput(
          input.tokens.slice(half.lowerBound * length..<half.upperBound * length), lengths: [length, length])
      }
    }
    func event(_ batches: [[FusionInput]], _ balance: RollingQueryOptions.Balance) throws -> RollingQueryEvent
    {
      var options = RollingQueryOptions()
      options.balance = balance
      var rolling = try batch.rolling(options)
      for part in batches { rolling.observe(try batch.model()(part)) }
      return rolling.endEpoch(0)[0]
    }
    XCTAssertEqual(try event(halves, .lastBatch).imbalance, try event([halves[1]], .epoch).imbalance)
    XCTAssertEqual(try event(halves, .lastBatch).sampleCount, 2)
    XCTAssertEqual(
      try event(halves, .epoch).imbalance, try event([batch.inputs], .epoch).imbalance, accuracy: 1e-7)
    XCTAssertNotEqual(try event(halves, .epoch).imbalance, try event(halves, .lastBatch).imbalance)
  }

  func testASampleWithoutAModalityIsNotMeasured() throws {
    let configuration = FusionBatch.pair().configuration
    let whole = FusionBatch(configuration, lengths: [[3, 0, 2], [4, 5, 0]])
    var rolling = try whole.rolling()
    rolling.observe(try run(whole, nil))
    XCTAssertEqual(rolling.endEpoch(0)[0].sampleCount, 1)
    let none = FusionBatch(configuration, lengths: [[3, 1], [0, 0]])
    rolling.observe(try run(none, nil))
    XCTAssertEqual(rolling.endEpoch(1)[0].outcome, .unseen)
  }

  func testThreeModalitiesAreBalanced() throws {
    var configuration = FusionConfiguration(
      inputs: [.init(.audio, size: 6), .init(.video, size: 8), .init(.text, size: 3)], width: 8, outputSize: 2
    )
    configuration.headCount = 2
    let batch = FusionBatch(configuration, lengths: [[2, 3], [4, 1], [1, 5]], biases: [2, 0.2, 1])
    let (rolling, events) = try rotated(batch)
    for event in events {
      XCTAssertEqual(event.outcome, .rotated)
      XCTAssertEqual(event.weights.reduce(0, +), 1, accuracy: 1e-12)
      let most = try XCTUnwrap(event.cosines.max()), least = try XCTUnwrap(event.cosines.min())
      XCTAssertEqual(event.imbalance, most - least, accuracy: 1e-12)
      let favoured = event.cosines.firstIndex(of: most)
      XCTAssertEqual(event.weights.min(), favoured.map { event.weights[$0] })
    }
    XCTAssertNotEqual(try run(batch, rolling).logits, try run(batch, nil).logits)
    XCTAssertThrowsError(try RollingQuery(headCount: 1, headSize: 4, modalities: [.audio])) {
      XCTAssertEqual($0 as? RollingQueryError, .tooFewModalities(count: 1))
    }
    XCTAssertThrowsError(try RollingQuery(headCount: 1, headSize: 4, modalities: [.audio, .audio]))
    let line = events[0].json(configuration.modalities)
    XCTAssertEqual(line["cosines"]?.objectValue?.keys, ["audio", "video", "text"])
  }

  // MARK: Folding and the ablation

  func testFoldingGivesTheSameLogits() throws {
    for (kind, block) in [
      (RollingQueryOptions.Rotation.minimal, FusionConfiguration.Block.plain), (.svd, .residual),
      (.reset, .plain),
    ] {
      let batch = FusionBatch.pair { ($0.headCount, $0.block, $0.layerCount) = (2, block, 1) }
      let rolling = try rotated(batch) { $0.rotation = kind }.rolling
      let folded = try batch.model().folding(XCTUnwrap(rolling[0]), layer: 0)
      let expected = try run(batch, rolling).logits
      assertClose(
        folded(batch.inputs).logits, expected.doubles, shape: expected.shape, absolute: 1e-5, "\(kind)")
    }
    let deep = FusionBatch.pair { ($0.layerCount, $0.block) = (2, .residual) }
    let query = try XCTUnwrap(try rotated(deep).rolling[0])
    XCTAssertThrowsError(try deep.model().folding(query, layer: 0)) {
      XCTAssertEqual(($0 as? RollingQueryError)?.exitStatus, .unsupported)
    }
  }

  /// With a query that is the same for every sample and nothing but its bias trained by plain gradient descent, a rotation
  /// is a new start of the query at the anchor: shifting the query there gives the same run.
  func testForAConstantQueryARotationIsANewStart() throws {
    let batch = FusionBatch.pair()
    func train(_ kind: RollingQueryOptions.Rotation) throws -> [Double] {
      let rolling = try rotated(batch) { $0.rotation = kind }.rolling
      var bias = try XCTUnwrap(batch.parameters["layers.0.query.bias"])
      var losses: [Double] = []
      for _ in 0..<6 {
        let tape = Tape()
        let leaf = tape.leaf(bias)
        var parameters = batch.parameters.named
        parameters["layers.0.query.bias"] = leaf
        var options = FusionOptions()
        options.rolling = rolling
        let logits = try batch.model(parameters)(batch.inputs, options: options).logits
        let loss = logits.crossEntropy(labels: [0, 1, 2, 0]).total()
        losses.append(loss.doubles[0])
        bias = bias - 2 * (try XCTUnwrap(tape.gradients(of: loss, for: [leaf])[0]))
      }
      return losses
    }
    let (turned, shifted, other) = (try train(.minimal), try train(.reset), try train(.svd))
    XCTAssertGreaterThan(turned[0] - turned[5], 1e-3)
    for step in turned.indices {
      XCTAssertEqual(turned[step], shifted[step], accuracy: 1e-5)
      // Neither does it matter what happens across the plane.
      XCTAssertEqual(turned[step], other[step], accuracy: 1e-5)
    }
  }
}
