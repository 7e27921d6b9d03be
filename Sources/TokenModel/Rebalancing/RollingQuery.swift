import Foundation
import RunKit
public import TensorCore

/// RollingQ: turns the queries of an attention away from the modality they have come to favour.
///
/// Attention to a modality feeds its own growth: keys that are looked at are trained towards the query. At the end of an
/// epoch, for each head with the mean keys k̂ᵐ of the modalities
///
///     cᵐ = E cos(q, k̂ᵐ),   imbalance = c⁰ − c¹ (AIR), for more than two modalities max c − min c
///     αᵐ = softmax(−2 ρ c)ₘ                       for two modalities ½ (1 + tanh(−ρ · AIR))
///     y  = Σ αᵐ E k̂ᵐ / |E k̂ᵐ|                     the anchor, as long as E q
///     R ← R_new R,  R_new: E q → y                 if |imbalance| ≥ β and fewer than `limit` rotations so far
///
/// and from then on q ← R q. E q is that of the queries as already rotated. Training goes on with R in place. The imbalance is
/// not a function of attention mass, which depends on the lengths and numbers of keys too.
///
/// A head is rotated by itself: with one head this is the published method. The weights for more than two modalities, and
/// heads, are this project's extension.
///
/// Source: Ni et al., "RollingQ: Reviving the Cooperation Dynamics in Multimodal Transformer", ICML 2025, arXiv:2506.11465.
/// Departs from the released code by default: the rotation is the minimal one (theirs is arbitrary across the plane), the
/// imbalance is that of the epoch (theirs of its last batch), a mean weighs every row the same (theirs every batch), the
/// threshold itself rotates, and the state is saved with its count (theirs loses it, so that a loaded model does not rotate).
public struct RollingQuery: Sendable {
  /// Query heads.
  public let headCount: Int
  /// The size of a head.
  public let headSize: Int
  /// The modalities, in the order of every list.
  public let modalities: [Modality]
  /// How queries are rebalanced.
  public let options: RollingQueryOptions
  /// What was seen since the epoch began.
  public private(set) var balance: AttentionBalance
  /// Rotations of each head so far.
  public private(set) var counts: [Int]
  /// R of each head, `[size, size]`.
  private var matrices: [[Double]]
  /// What is added behind R: 0 unless queries are reset.
  private var shifts: [[Double]]

  /// Rotations that change nothing yet.
  ///
  /// - Parameters:
  ///   - headSize: At least 2: one component has no rotation.
  ///   - keyHeadCount: Heads of the keys, a divisor of `headCount`; as many unless given.
  ///   - modalities: Two or more, each once.
  public init(
    headCount: Int, headSize: Int, keyHeadCount: Int? = nil, modalities: [Modality],
    options: RollingQueryOptions = RollingQueryOptions()
  ) throws(RollingQueryError) {
    let keyHeadCount = keyHeadCount ?? headCount
    require(
      headCount > 0 && headSize > 1 && keyHeadCount > 0 && headCount % keyHeadCount == 0,
      "\(headCount) heads of size \(headSize) over \(keyHeadCount)")
    require(
      options.sharpness >= 0 && options.sharpness.isFinite && options.threshold >= 0 && options.limit >= 0,
      "RollingQ options \(options)")
    guard modalities.count > 1, Set(modalities).count == modalities.count else {
      throw .tooFewModalities(count: Set(modalities).count)
    }
    (self.headCount, self.headSize) = (headCount, headSize)
    (self.modalities, self.options) = (modalities, options)
    balance = AttentionBalance(
      headCount: headCount, keyHeadCount: keyHeadCount, headSize: headSize, modalityCount: modalities.count)
    counts = [Int](repeating: 0, count: headCount)
    matrices = [[Double]](repeating: QueryRotation.identity(headSize), count: headCount)
    shifts = [[Double]](repeating: [Double](repeating: 0, count: headSize), count: headCount)
  }

  // MARK: Forward

  /// Whether queries pass unchanged.
  public var isIdentity: Bool { counts.allSatisfy { $0 == 0 } }

  /// R q (+ shift) of every row and head; the same tensor while nothing was rotated.
  ///
  /// - Parameter queries: `[rows, heads * size]`, tracked or not: the gradient of q is Rᵀ times that of R q.
  public func rotate(_ queries: Tensor) -> Tensor {
    require(
      queries.rank == 2 && queries.columns == headCount * headSize,
      "queries \(queries.shape) for \(headCount) heads of \(headSize)")
    if isIdentity { return queries }
    return Tensor.concatenatedColumns(
      (0..<headCount).map { head in
        let own = queries.columns(head * headSize..<(head + 1) * headSize)
        guard counts[head] > 0 else { return own }
        if options.rotation == .reset { return own + shift(head: head) }
        return own.matmul(rotation(head: head), transposingOther: true)
      })
  }

  /// R of a head, `[size, size]`; it acts on columns.
  public func rotation(head: Int) -> Tensor {
    Tensor(matrices[head].map { Float($0) }, shape: [headSize, headSize])
  }

  /// What is added to the queries of a head, `[size]`.
  public func shift(head: Int) -> Tensor { Tensor(shifts[head].map { Float($0) }, shape: [headSize]) }

  /// The query projection with the rotation in it: R W and R b.
  ///
  /// Gives the same queries for every row, so it stands for the rotation only where all rows that use W are rotated.
  ///
  /// - Parameters:
  ///   - weight: W, `[heads * size, inputSize]`.
  ///   - bias: b, `[heads * size]`; zeros if the layer has none.
  public func folded(weight: Tensor, bias: Tensor) -> (weight: Tensor, bias: Tensor) {
    let width = headCount * headSize
    require(
      weight.rank == 2 && weight.rows == width && bias.count == width,
      "a query projection \(weight.shape), \(bias.shape) for \(headCount) heads of \(headSize)")
    let parts = (0..<headCount).map { head -> (Tensor, Tensor) in
      let rows = head * headSize..<(head + 1) * headSize
      let rotation = rotation(head: head)
      let turned = rotation.matmul(bias.reshaped(to: [width, 1]).slice(rows)).reshaped(to: [headSize])
      return (rotation.matmul(weight.slice(rows)), turned + shift(head: head))
    }
    return (Tensor.concatenated(parts.map(\.0)), Tensor.concatenated(parts.map(\.1)))
  }

  // MARK: Measuring

  /// Notes a batch.
  ///
  /// - Parameters:
  ///   - queries: `[query rows, heads * size]`, as attention uses them: rotated.
  ///   - keys: `[key rows, key heads * size]`.
  ///   - observations: Which rows are of one sample; the keys in the order of `modalities`.
  public mutating func observe(
    queries: Tensor, keys: Tensor, _ observations: [AttentionBalance.Observation]
  ) {
    balance.add(queries: queries.detached, keys: keys.detached, observations)
  }

  /// Ends an epoch: rotates the heads whose queries favour a modality, and begins to measure anew.
  ///
  /// - Parameters:
  ///   - layer: For the events.
  ///   - isHeld: Whether nothing is to be rotated now, because a lower layer was.
  /// - Returns: One event a head.
  public mutating func endEpoch(_ epoch: Int, layer: Int = 0, isHeld: Bool = false) -> [RollingQueryEvent] {
    let events = (0..<headCount).map { endEpoch(epoch, layer: layer, head: $0, isHeld: isHeld) }
    balance.reset()
    return events
  }

  private mutating func endEpoch(_ epoch: Int, layer: Int, head: Int, isHeld: Bool) -> RollingQueryEvent {
    let cosines = balance.cosines(head: head, options.balance)
    let imbalance = Self.imbalance(cosines)
    var (weights, angle) = ([Double](), 0.0)
    let outcome: RollingQueryEvent.Outcome
    if balance.count(options.balance) == 0 {
      outcome = .unseen
    } else if isHeld {
      outcome = .waiting
    } else if abs(imbalance) < options.threshold {
      outcome = .balanced
    } else if counts[head] >= options.limit {
      outcome = .limit
    } else {
      weights = Self.weights(cosines, sharpness: options.sharpness)
      if let turned = rotate(head: head, weights: weights, epoch: epoch, layer: layer) {
        (outcome, angle) = (.rotated, turned)
      } else {
        (outcome, weights) = (.undefined, [])
      }
    }
    return RollingQueryEvent(
      epoch: epoch, layer: layer, head: head, outcome: outcome, sampleCount: balance.count(options.balance),
      cosines: cosines, imbalance: imbalance, weights: weights, angle: angle, count: counts[head])
  }

  /// Brings the mean query of a head to the anchor; the angle between them, or nil where one has no direction.
  private mutating func rotate(head: Int, weights: [Double], epoch: Int, layer: Int) -> Double? {
    let mean = balance.meanQuery(head: head)
    guard let anchor = anchor(head: head, weights: weights), Self.hasDirection(mean) else { return nil }
    let cosine = AttentionBalance.cosine(mean, anchor)
    switch options.rotation {
    case .reset: shifts[head] = shifts[head].indices.map { shifts[head][$0] + anchor[$0] - mean[$0] }
    case .minimal: QueryRotation.minimal(from: mean, to: anchor).multiply(onto: &matrices[head])
    case .svd:
      var stream = RandomStream(
        seed: options.seed, purpose: "rollingq.svd", epoch: epoch, step: layer, id: head)
      QueryRotation.arbitrary(from: mean, to: anchor, using: &stream).multiply(onto: &matrices[head])
    }
    counts[head] += 1
    return acos(min(1, max(-1, cosine)))
  }

  /// y: the mix of the unit mean keys, as long as the options say; nil where it has no direction.
  func anchor(head: Int, weights: [Double]) -> [Double]? {
    var mix = [Double](repeating: 0, count: headSize)
    for (modality, weight) in weights.enumerated() {
      let key = balance.meanKey(head: head, modality: modality)
      guard Self.hasDirection(key) else { return nil }
      let direction = QueryRotation.unit(key)
      for index in mix.indices { mix[index] += weight * direction[index] }
    }
    guard Self.hasDirection(mix) else { return nil }
    let length = QueryRotation.length(balance.meanQuery(head: head))
    return (options.anchor == .unit ? QueryRotation.unit(mix) : mix).map { $0 * length }
  }

  private static func hasDirection(_ vector: [Double]) -> Bool {
    let length = QueryRotation.length(vector)
    return length.isFinite && length > 1e-12
  }

  /// c⁰ − c¹ of two modalities, max − min of more.
  static func imbalance(_ cosines: [Double]) -> Double {
    cosines.count == 2 ? cosines[0] - cosines[1] : (cosines.max() ?? 0) - (cosines.min() ?? 0)
  }

  /// softmax(−2 ρ c): the favoured modality weighs least.
  static func weights(_ cosines: [Double], sharpness: Double) -> [Double] {
    let least = cosines.min() ?? 0
    let parts = cosines.map { exp(-2 * sharpness * ($0 - least)) }
    let sum = parts.reduce(0, +)
    return parts.map { $0 / sum }
  }
}

extension RollingQuery: BufferedModule {
  /// `rotation`, `shift`, `count`, and what was seen since the epoch began.
  public func visitBuffers(_ visit: (StoredTensor) throws -> Void) throws {
    try visit(
      StoredTensor(
        name: "rotation", shape: [headCount, headSize, headSize], doubles: matrices.flatMap { $0 }))
    try visit(StoredTensor(name: "shift", shape: [headCount, headSize], doubles: shifts.flatMap { $0 }))
    try visit(StoredTensor(name: "count", shape: [headCount], integers: counts))
    try balance.visitBuffers(visit)
  }

  /// Takes the buffers back; see `BufferedModule`.
  public mutating func restoreBuffers(from source: BufferSource) throws {
    let rotation = try source.doubles("rotation", shape: [headCount, headSize, headSize])
    let shift = try source.doubles("shift", shape: [headCount, headSize])
    let count = try source.integers("count", count: headCount)
    guard count.allSatisfy({ 0...Int(Int32.max) ~= $0 }) else {
      throw RollingQueryError.impossibleBuffer(
        path: source.path, tensor: source.name("count"), reason: "found \(count), expected counts")
    }
    let size = headSize * headSize
    for head in 0..<headCount {
      guard let reason = QueryRotation.fault(of: Array(rotation[head * size..<(head + 1) * size]), headSize)
      else { continue }
      throw RollingQueryError.impossibleBuffer(
        path: source.path, tensor: source.name("rotation"),
        reason: "the matrix of head \(head) \(reason), expected a rotation")
    }
    guard shift.allSatisfy({ abs($0) <= 1e6 }) else {
      throw RollingQueryError.impossibleBuffer(
        path: source.path, tensor: source.name("shift"), reason: "found shifts beyond 1e6")
    }
    var restored = balance
    try restored.restore(from: source)
    balance = restored
    counts = count
    matrices = (0..<headCount).map { head in
      Array(rotation[head * headSize * headSize..<(head + 1) * headSize * headSize])
    }
    shifts = (0..<headCount).map { Array(shift[$0 * headSize..<($0 + 1) * headSize]) }
  }
}
