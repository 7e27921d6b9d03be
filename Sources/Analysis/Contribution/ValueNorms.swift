import Foundation
import TensorCore
import TokenModel

/// What the last prompt row takes from each group in attention: attention times value, after the output projection.
///
///     cⱼ = Σₕ Aₕ(last, j) · Wₒ⁽ʰ⁾ vⱼ⁽ʰ⁾,    Σⱼ cⱼ = the attention output of the row (without bias)
///     tokens:  Σ_{j ∈ m} ‖cⱼ‖ / Σⱼ ‖cⱼ‖        vector:  ‖Σ_{j ∈ m} cⱼ‖ / Σₘ ‖Σ_{j ∈ m} cⱼ‖
///
/// A sink with much attention and a small value counts little. The vector form lets tokens of a group cancel.
///
/// Source: Kobayashi et al., "Attention is Not Only a Weight", EMNLP 2020, arXiv:2004.10102, equation 4.
struct ValueNorms {
  func contribution(of item: ContributionCase) -> Contribution {
    let decoder = item.decoder
    let (layers, groups) = (decoder.configuration.layerCount, item.definition.groups.count)
    let observer = ValueNormObserver(
      decoder, row: item.prompt.count - 1, groupOfKey: item.groupOfRow, groupCount: groups)
    var options = ForwardOptions()
    options.observers = [observer]
    let result = decoder.forward(item.embeddings, context: item.context, options: options)
    let logits = result.logits?.hostRows()[0] ?? []
    let target = item.target(logits)

    var cells: [Double] = []
    var heads: [Float] = []
    var magnitude = [Double](repeating: 0, count: groups)
    for layer in observer.layers {
      let tokens = Self.shares(layer.tokenNorms(groupCount: groups))
      let vectors = Self.shares(layer.vectorNorms)
      for group in 0..<groups {
        cells += [tokens[group], vectors[group]]
        magnitude[group] += tokens[group] / Double(layers)
      }
      for head in layer.headNorms { heads += Self.shares(head).map { Float($0) } }
    }
    return Contribution(
      target: item.record(target, logits), effect: nil, magnitude: magnitude, cells: cells, heads: heads,
      residual: observer.residual)
  }

  /// Parts of a sum; all 0 where it is 0.
  static func shares(_ values: [Double]) -> [Double] {
    let total = values.reduce(0, +)
    return values.map { total > 0 ? $0 / total : 0 }
  }
}

/// Norms of what one row takes from each key and group, layer by layer.
final class ValueNormObserver: ForwardObserver {
  /// One layer.
  struct Layer {
    /// ‖cⱼ‖ of each key, heads summed before the norm.
    let keyNorms: [Double]
    /// ‖Aₕⱼ Wₒ⁽ʰ⁾ vⱼ⁽ʰ⁾‖, `[heads][keys]`.
    let headKeyNorms: [[Double]]
    /// ‖Σ_{j ∈ m} cⱼ‖, `[groups]`.
    let vectorNorms: [Double]
    /// The same in each head, `[heads][groups]`.
    let headNorms: [[Double]]
    let groupOfKey: [Int]

    /// Σ_{j ∈ m} ‖cⱼ‖, `[groups]`.
    func tokenNorms(groupCount: Int) -> [Double] {
      var sums = [Double](repeating: 0, count: groupCount)
      for (key, norm) in keyNorms.enumerated() where groupOfKey[key] >= 0 { sums[groupOfKey[key]] += norm }
      return sums
    }
  }

  private let decoder: LLaMADecoder
  private let row: Int
  private let groupOfKey: [Int]
  private let groupCount: Int
  private(set) var layers: [Layer] = []
  /// The largest element of Σⱼ cⱼ minus the attention output of the row, over layers.
  private(set) var residual = 0.0
  private var sum: [Double] = []

  /// - Parameters:
  ///   - row: The row of a batch of one sequence.
  ///   - groupOfKey: Of each row in `0..<groupCount`, or negative for none.
  init(_ decoder: LLaMADecoder, row: Int, groupOfKey: [Int], groupCount: Int) {
    (self.decoder, self.row) = (decoder, row)
    (self.groupOfKey, self.groupCount) = (groupOfKey, groupCount)
  }

  /// Each key is a group of its own: one row needs no more memory than the values themselves.
  func attentionRequest(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionRequest? {
    var request = AttentionRequest()
    request.queryRows = context.roles.indices.map { $0 == row }
    request.groups = Array(0..<keyRows.count)
    request.groupCount = keyRows.count
    request.wantsValueSums = true
    return request
  }

  func observe(_ statistics: AttentionStatistics, layer: Int, context: TokenContext) {
    guard let sums = statistics.valueSums else { return }
    let (heads, keys, headSize) = (sums.shape[1], sums.shape[2], sums.shape[3])
    let byHead = sums.reshaped(to: [heads, keys, headSize])
    let parts = (0..<heads).map { byHead.slice($0..<$0 + 1).reshaped(to: [keys, headSize]) }
    // Which key is in which group, [groups, keys].
    var members = [Float](repeating: 0, count: groupCount * keys)
    for (key, group) in groupOfKey.enumerated() where group >= 0 { members[group * keys + key] = 1 }
    let membership = Tensor(members, shape: [groupCount, keys])
    func projected(_ attended: Tensor) -> [[Double]] {
      let flat = TokenContext(
        segments: .single(attended.rows), positions: [Int](repeating: 0, count: attended.rows),
        roles: [Role](repeating: context.roles[row], count: attended.rows), mask: .full)
      return decoder.attentionOutput(of: attended, layer: layer, context: flat).hostRows()
        .map { $0.map(Double.init) }
    }
    /// One head of the rows, the others 0.
    func alone(_ part: Tensor, _ head: Int) -> Tensor {
      Tensor.concatenatedColumns(
        (0..<heads).map { $0 == head ? part : Tensor(zeros: [part.rows, headSize]) })
    }
    func norms(_ rows: [[Double]]) -> [Double] {
      rows.map { row in row.reduce(0) { $0 + $1 * $1 }.squareRoot() }
    }
    let whole = Tensor.concatenatedColumns(parts)  // [keys, heads * headSize]
    let byKey = projected(whole)
    sum = (0..<decoder.configuration.hiddenSize).map { column in byKey.reduce(0) { $0 + $1[column] } }
    layers.append(
      Layer(
        keyNorms: norms(byKey),
        headKeyNorms: parts.enumerated().map { norms(projected(alone($0.element, $0.offset))) },
        vectorNorms: norms(projected(membership.matmul(whole))),
        headNorms: parts.enumerated().map {
          norms(projected(alone(membership.matmul($0.element), $0.offset)))
        }, groupOfKey: groupOfKey))
  }

  func wants(_ name: TensorName) -> Bool { name.site == .attentionOutput }

  func observe(_ tensor: Tensor, _ name: TensorName, context: TokenContext) {
    guard let layer = name.layer else { return }
    // The bias is no part of any key: the projection of nothing is taken away, as from the parts.
    let zeros = TokenContext(segments: .single(1), positions: [0], roles: [context.roles[row]], mask: .full)
    let bias = decoder.outputBias(layer: layer, context: zeros).hostValues()
    let output = tensor.slice(row..<row + 1).hostValues()
    for column in output.indices {
      residual = max(residual, abs(sum[column] - (Double(output[column]) - Double(bias[column]))))
    }
  }
}
