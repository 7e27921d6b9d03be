import TensorCore
import TokenModel

/// Where the rows that predict answers look while a model is trained.
///
/// | figure | meaning |
/// | --- | --- |
/// | `share/image` (`audio`, `video`, `text`, `other`) | mean attention on keys of a modality, over loss rows, heads and layers |
/// | `air/image` (`audio`, `video`) | mean of cos(q, k̄ of the modality) − cos(q, k̄ of text) over the same, k̄ the mean key of a sequence |
///
/// The second is the imbalance rate of attention fusion, taken for every modality against the text of the prompt, queries
/// and keys as they enter attention. It is no share: it knows neither how many keys there are nor how long they are.
///
/// Source of the second: Ni et al., "RollingQ: Reviving the Cooperation Dynamics in Multimodal Transformer", ICML 2025,
/// arXiv:2506.11465, section 3.
final class BalanceObserver: ForwardObserver {
  private let lossRows: [Int]
  private let modalities: [Modality]
  private var mass: [Double]
  private var layerCount = 0
  private var queries: Tensor?
  private var cosines: [Modality: (sum: Double, count: Int)] = [:]

  /// - Parameter modalities: Of the batch, text first.
  init(lossRows: [Int], modalities: [Modality]) {
    (self.lossRows, self.modalities) = (lossRows, modalities)
    // The last is everything that is neither text nor a medium.
    mass = [Double](repeating: 0, count: modalities.count + 1)
  }

  private func group(of role: Role) -> Int {
    if role.isText { return 0 }
    return modalities.firstIndex { $0.role == role } ?? modalities.count
  }

  func attentionRequest(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionRequest? {
    var request = AttentionRequest()
    var wanted = [Bool](repeating: false, count: context.roles.count)
    for row in lossRows { wanted[row] = true }
    request.queryRows = wanted
    request.groups = keyRows.groups(of: context, group)
    request.groupCount = mass.count
    request.wantsGroupMass = true
    return request
  }

  func observe(_ statistics: AttentionStatistics, layer: Int, context: TokenContext) {
    guard let groups = statistics.groupMass, groups.rows > 0 else { return }
    let (values, width) = (groups.hostValues(), mass.count)
    for index in values.indices { mass[index % width] += Double(values[index]) / Double(groups.rows) }
    layerCount += 1
  }

  func wants(_ name: TensorName) -> Bool {
    name.tower == nil && modalities.count > 1 && (name.site == .query || name.site == .key)
  }

  func observe(_ tensor: Tensor, _ name: TensorName, context: TokenContext) {
    if name.site == .query {
      queries = tensor.detached
      return
    }
    guard let queries else { return }
    self.queries = nil
    // A key head serves several query heads; sizes follow from both once the number of rows is known.
    add(queries.gatherRows(lossRows).hostRows(), tensor.detached, context)
  }

  /// The size of a head, from the model.
  var headSize = 1

  private func add(_ queries: [[Float]], _ keys: Tensor, _ context: TokenContext) {
    let keyHeads = keys.columns / headSize
    for sequence in 0..<context.segments.count {
      let rows = context.segments[sequence]
      var means: [(modality: Modality, mean: [Double])] = []
      for modality in modalities {
        let own = rows.filter { row in
          let role = context.roles[row]
          return modality == .text ? role.isText && role != .response : role == modality.role
        }
        if own.isEmpty { continue }
        var sum = [Double](repeating: 0, count: keys.columns)
        for key in keys.gatherRows(own).hostRows() {
          for column in sum.indices { sum[column] += Double(key[column]) }
        }
        means.append((modality, sum))
      }
      guard let text = means.first(where: { $0.modality == .text }) else { continue }
      for (place, row) in lossRows.enumerated() where rows.contains(row) {
        let heads = queries[place].count / headSize
        for head in 0..<heads {
          let keyStart = head * keyHeads / heads * headSize
          let query = queries[place][head * headSize..<(head + 1) * headSize]
          let base = Self.cosine(query, text.mean[keyStart..<keyStart + headSize])
          for (modality, mean) in means where modality != .text {
            let cosine = Self.cosine(query, mean[keyStart..<keyStart + headSize])
            let before = cosines[modality] ?? (0, 0)
            cosines[modality] = (before.sum + cosine - base, before.count + 1)
          }
        }
      }
    }
  }

  private static func cosine(_ left: ArraySlice<Float>, _ right: ArraySlice<Double>) -> Double {
    var (product, first, second) = (0.0, 0.0, 0.0)
    for (a, b) in zip(left, right) {
      product += Double(a) * b
      first += Double(a) * Double(a)
      second += b * b
    }
    return first > 0 && second > 0 ? product / (first * second).squareRoot() : 0
  }

  /// The figures by their tags.
  var figures: [(tag: String, value: Double)] {
    guard layerCount > 0 else { return [] }
    let names = modalities.map(\.rawValue) + ["other"]
    return zip(names, mass).map { ("share/\($0)", $1 / Double(layerCount)) }
      + modalities.compactMap { modality in
        cosines[modality].map { ("air/\(modality.rawValue)", $0.sum / Double(max(1, $0.count))) }
      }
  }
}
