import Foundation
import TensorCore

/// The running sums that tell which modality the queries of one attention favour.
///
/// Every observed query row counts once. For row i, its modality keys being those of its sequence:
///
///     k̂ᵢᵐ = mean of the keys of modality m,   cᵐ = E cos(qᵢ, k̂ᵢᵐ)
///
/// Sums are in Float64, in the order of the rows.
public struct AttentionBalance: Sendable, Equatable {
  /// Query rows whose modality keys are the same ones.
  public struct Observation: Sendable, Equatable {
    /// Rows of the query tensor.
    public let queries: [Int]
    /// For each modality the rows of the key tensor.
    public let keys: [[Int]]

    /// Rows that belong together; without queries, or without keys of some modality, they are passed over.
    public init(queries: [Int], keys: [[Int]]) { (self.queries, self.keys) = (queries, keys) }
  }

  /// Heads of the queries.
  public let headCount: Int
  /// Heads of the keys; query head h reads key head h · keyHeadCount / headCount.
  public let keyHeadCount: Int
  /// The size of a head.
  public let headSize: Int
  /// How many modalities there are.
  public let modalityCount: Int
  /// Rows seen in the epoch.
  private(set) var count = 0
  /// Rows seen in the last batch.
  private(set) var lastCount = 0
  /// Σ q, `[heads, size]`.
  private(set) var queries: [Double]
  /// Σ k̂, `[heads, modalities, size]`.
  private(set) var keys: [Double]
  /// Σ cos(q, k̂), `[heads, modalities]`.
  private(set) var cosines: [Double]
  /// The same over the last batch.
  private(set) var lastCosines: [Double]

  init(headCount: Int, keyHeadCount: Int, headSize: Int, modalityCount: Int) {
    (self.headCount, self.keyHeadCount) = (headCount, keyHeadCount)
    (self.headSize, self.modalityCount) = (headSize, modalityCount)
    queries = [Double](repeating: 0, count: headCount * headSize)
    keys = [Double](repeating: 0, count: headCount * modalityCount * headSize)
    cosines = [Double](repeating: 0, count: headCount * modalityCount)
    lastCosines = cosines
  }

  /// Forgets everything.
  mutating func reset() {
    self = AttentionBalance(
      headCount: headCount, keyHeadCount: keyHeadCount, headSize: headSize, modalityCount: modalityCount)
  }

  /// Adds a batch.
  ///
  /// - Parameters:
  ///   - queries: `[query rows, heads * size]`.
  ///   - keys: `[key rows, key heads * size]`.
  mutating func add(queries queryRows: Tensor, keys keyRows: Tensor, _ observations: [Observation]) {
    let (width, keyWidth) = (headCount * headSize, keyHeadCount * headSize)
    require(
      queryRows.columns == width && keyRows.columns == keyWidth,
      "queries \(queryRows.shape) and keys \(keyRows.shape) for \(headCount) and \(keyHeadCount) heads of \(headSize)"
    )
    lastCount = 0
    lastCosines = [Double](repeating: 0, count: cosines.count)
    let (queryValues, keyValues) = (queryRows.hostValues(), keyRows.hostValues())
    for observation in observations
    where !observation.queries.isEmpty && observation.keys.allSatisfy({ !$0.isEmpty }) {
      require(
        observation.keys.count == modalityCount,
        "keys of \(observation.keys.count) of \(modalityCount) modalities")
      let means = observation.keys.map { Self.mean(of: $0, in: keyValues, width: keyWidth) }
      for row in observation.queries {
        let query = queryValues[row * width..<(row + 1) * width].map { Double($0) }
        add(query, means)
      }
      count += observation.queries.count
      lastCount += observation.queries.count
    }
  }

  private mutating func add(_ query: [Double], _ means: [[Double]]) {
    for index in query.indices { queries[index] += query[index] }
    for head in 0..<headCount {
      let own = Array(query[head * headSize..<(head + 1) * headSize])
      let keyHead = head * keyHeadCount / headCount
      for modality in 0..<modalityCount {
        let key = Array(means[modality][keyHead * headSize..<(keyHead + 1) * headSize])
        let place = head * modalityCount + modality
        for index in 0..<headSize { keys[place * headSize + index] += key[index] }
        let cosine = Self.cosine(own, key)
        cosines[place] += cosine
        lastCosines[place] += cosine
      }
    }
  }

  private static func mean(of rows: [Int], in values: [Float], width: Int) -> [Double] {
    var sums = [Double](repeating: 0, count: width)
    for row in rows {
      for column in 0..<width { sums[column] += Double(values[row * width + column]) }
    }
    return sums.map { $0 / Double(rows.count) }
  }

  /// cos of the angle between two vectors; 0 where one of them is 0.
  static func cosine(_ left: [Double], _ right: [Double]) -> Double {
    let lengths = QueryRotation.length(left) * QueryRotation.length(right)
    return lengths > 0 ? QueryRotation.product(left, right) / lengths : 0
  }

  /// How many rows a measurement is over.
  func count(_ balance: RollingQueryOptions.Balance) -> Int { balance == .epoch ? count : lastCount }

  /// cᵐ of a head; zeros where no row was seen.
  public func cosines(head: Int, _ balance: RollingQueryOptions.Balance) -> [Double] {
    let sums = balance == .epoch ? cosines : lastCosines
    let rows = count(balance)
    return (0..<modalityCount).map { rows > 0 ? sums[head * modalityCount + $0] / Double(rows) : 0 }
  }

  /// E q of a head.
  func meanQuery(head: Int) -> [Double] {
    queries[head * headSize..<(head + 1) * headSize].map { $0 / Double(max(1, count)) }
  }

  /// E k̂ᵐ of a head.
  func meanKey(head: Int, modality: Int) -> [Double] {
    let start = (head * modalityCount + modality) * headSize
    return keys[start..<start + headSize].map { $0 / Double(max(1, count)) }
  }
}

extension AttentionBalance {
  /// The sums for a file.
  func visitBuffers(_ visit: (StoredTensor) throws -> Void) throws {
    try visit(StoredTensor(name: "statistics.count", shape: [2], integers: [count, lastCount]))
    try visit(StoredTensor(name: "statistics.queries", shape: [headCount, headSize], doubles: queries))
    try visit(
      StoredTensor(name: "statistics.keys", shape: [headCount, modalityCount, headSize], doubles: keys))
    try visit(
      StoredTensor(name: "statistics.cosines", shape: [headCount, modalityCount], doubles: cosines))
    try visit(
      StoredTensor(name: "statistics.last_cosines", shape: [headCount, modalityCount], doubles: lastCosines))
  }

  /// Takes the sums back from a file.
  ///
  /// - Throws: `RollingQueryError`, `SafetensorsError`, `StoredTensorError`.
  mutating func restore(from buffers: BufferSource) throws {
    let counts = try buffers.integers("statistics.count", count: 2)
    guard counts[0] >= 0, 0...counts[0] ~= counts[1] else {
      throw RollingQueryError.impossibleBuffer(
        path: buffers.path, tensor: buffers.name("statistics.count"), reason: "found \(counts)")
    }
    queries = try buffers.doubles("statistics.queries", shape: [headCount, headSize])
    keys = try buffers.doubles("statistics.keys", shape: [headCount, modalityCount, headSize])
    cosines = try buffers.doubles("statistics.cosines", shape: [headCount, modalityCount])
    lastCosines = try buffers.doubles("statistics.last_cosines", shape: [headCount, modalityCount])
    (count, lastCount) = (counts[0], counts[1])
  }
}
