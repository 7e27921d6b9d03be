import TensorCore
import TokenModel

/// Sums attention shares over the query rows of one sample, layer by layer.
final class ShareObserver: ForwardObserver {
  /// What a record holds of the shares.
  struct Sums {
    var share: [Float]
    var sinkShare: [Float]
    var entropy: [Float]
    var rowSumError = 0.0
    var nonfiniteCount = 0
  }

  private let definition: AttentionDefinition
  private let rows: [Int]
  private let groupOfKey: [Int]
  private let sinks: Set<Int>
  private let keepsKeys: Bool
  private(set) var sums: Sums
  /// Head means of the first query rows, `[rows][layers * groups]`.
  private(set) var queryTokens: [[Float]]
  private var keyTotals: [Double]

  init(_ definition: AttentionDefinition, rows: [Int], groupOfKey: [Int], sinks: Set<Int>, keepsKeys: Bool) {
    self.definition = definition
    self.rows = rows
    self.groupOfKey = groupOfKey
    self.sinks = sinks
    self.keepsKeys = keepsKeys
    let zeros = [Float](repeating: 0, count: definition.shareCount)
    sums = Sums(
      share: zeros, sinkShare: zeros,
      entropy: [Float](repeating: 0, count: definition.layers.count * definition.heads.count))
    let width = definition.layers.count * definition.groups.count
    queryTokens = Array(
      repeating: [Float](repeating: 0, count: width), count: min(rows.count, AttentionRecord.queryTokenLimit))
    keyTotals = [Double](repeating: 0, count: keepsKeys ? groupOfKey.count : 0)
  }

  /// The share of each key, mean over layers, heads and query rows.
  var keyShare: [Float] {
    let count = Double(rows.count * definition.layers.count * definition.heads.count)
    return keyTotals.map { Float($0 / count) }
  }

  /// Sink keys of a group are counted apart: group g becomes g, or g + groups for a sink.
  func attentionRequest(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionRequest? {
    guard definition.layers.contains(layer) else { return nil }
    let groups = definition.groups.count
    var request = AttentionRequest()
    var wanted = [Bool](repeating: false, count: context.roles.count)
    for row in rows { wanted[row] = true }
    request.queryRows = wanted
    request.groups = groupOfKey.enumerated().map { $1 < 0 ? $1 : sinks.contains($0) ? $1 + groups : $1 }
    request.groupCount = sinks.isEmpty ? groups : 2 * groups
    request.wantsGroupMass = true
    request.wantsEntropy = true
    request.wantsColumnSums = keepsKeys
    return request
  }

  func observe(_ statistics: AttentionStatistics, layer: Int, context: TokenContext) {
    guard let place = definition.layers.firstIndex(of: layer), let mass = statistics.groupMass,
      let entropy = statistics.entropy
    else { return }
    let (values, entropies) = (mass.hostValues(), entropy.hostValues())
    let (heads, width) = (mass.shape[1], mass.shape[2])
    let groups = definition.groups.count
    var totals = [Double](repeating: 0, count: definition.heads.count * width)
    var entropyTotals = [Double](repeating: 0, count: definition.heads.count)
    for row in rows.indices {
      for (position, head) in definition.heads.enumerated() {
        let start = (row * heads + head) * width
        var sum = 0.0
        for group in 0..<width {
          let value = Double(values[start + group])
          if !value.isFinite { sums.nonfiniteCount += 1 }
          totals[position * width + group] += value
          sum += value
          if row < queryTokens.count {
            queryTokens[row][place * groups + group % groups] +=
              values[start + group] / Float(definition.heads.count)
          }
        }
        let rowEntropy = Double(entropies[row * heads + head])
        if !rowEntropy.isFinite { sums.nonfiniteCount += 1 }
        entropyTotals[position] += rowEntropy
        sums.rowSumError = max(sums.rowSumError, abs(sum - 1))
      }
    }
    for position in definition.heads.indices {
      let target = (place * definition.heads.count + position) * groups
      for group in 0..<groups {
        let total = totals[position * width + group]
        let sinkTotal = width > groups ? totals[position * width + groups + group] : 0
        sums.share[target + group] = Float((total + sinkTotal) / Double(rows.count))
        sums.sinkShare[target + group] = Float(sinkTotal / Double(rows.count))
      }
      sums.entropy[place * definition.heads.count + position] = Float(
        entropyTotals[position] / Double(rows.count))
    }
    if keepsKeys, let columns = statistics.columnSums?.first {
      let sums = columns.hostValues()
      for head in definition.heads {
        for key in keyTotals.indices { keyTotals[key] += Double(sums[head * keyTotals.count + key]) }
      }
    }
  }
}

/// Sums the attention each key gets from all rows, for every measured layer and head.
final class SinkObserver: ForwardObserver {
  private let definition: AttentionDefinition
  /// One entry for each layer and head: the sum over rows for each key.
  private(set) var columnSums: [[Double]] = []

  init(_ definition: AttentionDefinition) { self.definition = definition }

  func attentionRequest(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionRequest? {
    guard definition.layers.contains(layer) else { return nil }
    var request = AttentionRequest()
    request.wantsColumnSums = true
    return request
  }

  func observe(_ statistics: AttentionStatistics, layer: Int, context: TokenContext) {
    guard let columns = statistics.columnSums?.first else { return }
    let rows = columns.hostRows()
    for head in definition.heads { columnSums.append(rows[head].map(Double.init)) }
  }
}
