import Foundation
public import RunKit
import TensorCore
import TokenModel

/// Attention that another program computed, measured like our own: probabilities and roles in, records out.
///
/// The file holds, for a batch of B sequences of at most T positions:
///
/// | tensor | type and shape | meaning |
/// | --- | --- | --- |
/// | `attention.0`, `attention.1`, … | float `[B, heads, T, T]` | softmax probabilities of each layer, as transformers returns them |
/// | `roles` | int `[B, T]` | the place of each position's role in `Role.allCases`; −1 for padding |
/// | `queries` (optional) | int `[B, T]` | 1 for the query rows; without it the definition's query set decides |
public struct AttentionImport {
  /// Probabilities of a row may miss 1 by this much: 16-bit softmax rounds to 3 digits.
  public static let rowSumTolerance = 5e-3

  private static let positionLimit = 1 << 20
  private static let headLimit = 4_096

  /// How many layers the file has.
  public let layerCount: Int
  /// How many heads.
  public let headCount: Int
  /// How many sequences.
  public let sampleCount: Int
  private let path: String
  private let attention: [StoredTensor]
  private let roles: [[Role?]]
  private let queries: [[Bool]]?
  /// Whether the file says which rows are queries; the definition's query set is then `given`.
  public var hasQueries: Bool { queries != nil }

  /// Reads and checks shapes; probabilities are read row by row.
  ///
  /// - Throws: `SafetensorsError`, `StoredTensorError`, `AttentionImportError`.
  public init(path: String) throws {
    let file = try SafetensorsFile(path: path)
    var attention: [StoredTensor] = []
    while let tensor = file["attention.\(attention.count)"] { attention.append(tensor) }
    guard let first = attention.first else {
      throw AttentionImportError.missingTensor(path: path, tensor: "attention.0")
    }
    // A layer that is missing in the middle must not end the list in silence.
    let layers = file.tensors.map(\.name).filter { $0.hasPrefix("attention.") }
      .compactMap { Int($0.dropFirst("attention.".count)) }
    if let last = layers.max(), last >= attention.count {
      throw AttentionImportError.missingTensor(path: path, tensor: "attention.\(attention.count)")
    }
    let shape = first.shape
    guard shape.count == 4, shape[2] == shape[3], shape.allSatisfy({ $0 > 0 }) else {
      throw AttentionImportError.wrongShape(
        path: path, tensor: "attention.0", found: shape, expected: "[batch, heads, tokens, tokens]")
    }
    // Sums and tables of this size are made before a probability is read.
    let (positions, overflow) = shape[0].multipliedReportingOverflow(by: shape[2])
    guard !overflow, positions <= Self.positionLimit, shape[1] <= Self.headLimit,
      attention.count <= Self.headLimit
    else {
      throw AttentionImportError.wrongShape(
        path: path, tensor: "attention.\(attention.count - 1)", found: shape,
        expected: "at most \(Self.positionLimit) positions in all, \(Self.headLimit) heads and as many layers"
      )
    }
    for tensor in attention where tensor.shape != shape {
      throw AttentionImportError.wrongShape(
        path: path, tensor: tensor.name, found: tensor.shape, expected: "\(shape)")
    }
    func table(_ name: String) throws -> [[Int]]? {
      guard let tensor = file[name] else { return nil }
      guard tensor.shape == [shape[0], shape[2]] else {
        throw AttentionImportError.wrongShape(
          path: path, tensor: name, found: tensor.shape, expected: "[\(shape[0]), \(shape[2])]")
      }
      let values = try tensor.integers()
      return (0..<shape[0]).map { Array(values[$0 * shape[2]..<($0 + 1) * shape[2]]) }
    }
    guard let codes = try table("roles") else {
      throw AttentionImportError.missingTensor(path: path, tensor: "roles")
    }
    roles = try codes.enumerated().map { row, codes in
      try codes.map { code in
        guard -1..<Role.allCases.count ~= code else {
          throw AttentionImportError.unknownRole(
            path: path, row: row, found: code, limit: Role.allCases.count)
        }
        return code < 0 ? nil : Role.allCases[code]
      }
    }
    queries = try table("queries")?.map { $0.map { $0 != 0 } }
    (self.path, self.attention) = (path, attention)
    (layerCount, headCount, sampleCount) = (attention.count, shape[1], shape[0])
  }

  /// Measures every sequence.
  ///
  /// - Throws: `AttentionImportError` for probabilities that are none, `ProbeError.noQueries`.
  public func samples(_ definition: AttentionDefinition) throws -> AttentionSamples {
    let groupOfRole = Dictionary(
      definition.groups.enumerated().flatMap { index, group in group.roles.map { ($0, index) } },
      uniquingKeysWith: { first, _ in first })
    return try AttentionSamples(
      (0..<sampleCount).map { sample in
        let groups = roles[sample].map { $0.flatMap { groupOfRole[$0] } ?? -1 }
        return .measured(try record(sample, groups: groups, definition))
      })
  }

  /// Measures one sequence; `groups` has the group of each position, or -1.
  private func record(_ sample: Int, groups: [Int], _ definition: AttentionDefinition) throws
    -> AttentionRecord
  {
    let rows = try queryRows(sample, definition)
    var sums = ShareSums(definition, rowCount: rows.count)
    let width = attention[0].shape[2]
    for (place, layer) in definition.layers.enumerated() {
      for (position, head) in definition.heads.enumerated() {
        let first = (sample * headCount + head) * width
        for (query, row) in rows.enumerated() {
          let probabilities = try attention[layer].slice((first + row) * width..<(first + row + 1) * width)
            .floats()
          try check(probabilities, layer: layer, head: head, row: row, sample: sample)
          sums.add(probabilities, groups: groups, layer: place, head: position, query: query)
        }
        attention[layer].slice(first * width..<(first + width) * width).storage.releasePages()
      }
    }
    let visible = meanVisible(rows, groups, definition)
    return AttentionRecord(
      index: sample, id: "row-\(sample)", hash: "",
      tokens: definition.groups.indices.map { group in groups.count { $0 == group } },
      visible: visible.counts,
      queryCount: rows.count, text: "", share: sums.share, entropy: sums.entropy,
      baseline: visible.uniform.map { Float($0) },
      queryTokens: zip(rows, sums.queryTokens).map { row, share in
        AttentionRecord.QueryToken(
          row: row, piece: roles[sample][row]?.rawValue ?? "", predicts: nil, share: share)
      }, rowSumError: sums.rowSumError)
  }

  private func queryRows(_ sample: Int, _ definition: AttentionDefinition) throws -> [Int] {
    let roles = roles[sample]
    let real = roles.indices.filter { roles[$0] != nil }
    let rows: [Int]
    if let queries {
      rows = real.filter { queries[sample][$0] }
    } else {
      let promptEnd = real.firstIndex { roles[$0] == .response } ?? real.count
      switch definition.queries {
      case .last: rows = promptEnd > 0 ? [real[promptEnd - 1]] : []
      case .answer, .generated:
        rows = promptEnd > 0 && promptEnd < real.count ? Array(real[promptEnd - 1..<real.count - 1]) : []
      case .text: rows = real.filter { roles[$0]?.isText ?? false }
      case .all: rows = real
      case .given: rows = []
      }
    }
    guard !rows.isEmpty else { throw ProbeError.noQueries(sample: "\(path): row \(sample)") }
    return rows
  }

  private func check(_ probabilities: [Float], layer: Int, head: Int, row: Int, sample: Int)
    throws(AttentionImportError)
  {
    var sum = 0.0
    for probability in probabilities {
      // A comparison with NaN is false.
      guard probability >= 0, probability <= 1.001 else {
        throw .notProbabilities(
          path: path, tensor: "attention.\(layer)", place: "[\(sample), \(head), \(row)]",
          found: "\(probability)")
      }
      sum += Double(probability)
    }
    guard abs(sum - 1) <= Self.rowSumTolerance else {
      throw .notProbabilities(
        path: path, tensor: "attention.\(layer)", place: "[\(sample), \(head), \(row)]",
        found: "a sum of \(sum)")
    }
  }

  /// Visible keys under the causal mask, as the probe counts them.
  private func meanVisible(
    _ rows: [Int], _ groups: [Int], _ definition: AttentionDefinition
  ) -> (counts: [Double], uniform: [Double]) {
    var counts = [Double](repeating: 0, count: definition.groups.count)
    var uniform = counts
    for row in rows {
      let seen = groups[...row].filter { $0 >= 0 }
      for group in seen {
        counts[group] += 1 / Double(rows.count)
        uniform[group] += 1 / Double(rows.count * seen.count)
      }
    }
    return (counts, uniform)
  }
}

/// Sums of one imported sample.
private struct ShareSums {
  private let definition: AttentionDefinition
  private let rowCount: Int
  private(set) var share: [Float]
  private(set) var entropy: [Float]
  private(set) var queryTokens: [[Float]]
  private(set) var rowSumError = 0.0

  init(_ definition: AttentionDefinition, rowCount: Int) {
    self.definition = definition
    self.rowCount = rowCount
    share = [Float](repeating: 0, count: definition.shareCount)
    entropy = [Float](repeating: 0, count: definition.layers.count * definition.heads.count)
    queryTokens = Array(
      repeating: [Float](repeating: 0, count: definition.layers.count * definition.groups.count),
      count: min(rowCount, AttentionRecord.queryTokenLimit))
  }

  /// Adds one row of probabilities.
  mutating func add(_ probabilities: [Float], groups: [Int], layer: Int, head: Int, query: Int) {
    var mass = [Double](repeating: 0, count: definition.groups.count)
    var rowEntropy = 0.0
    for (key, probability) in probabilities.enumerated() where probability > 0 {
      let p = Double(probability)
      if groups[key] >= 0 { mass[groups[key]] += p }
      rowEntropy -= p * log(p)
    }
    let place = layer * definition.heads.count + head
    for group in mass.indices {
      share[place * mass.count + group] += Float(mass[group] / Double(rowCount))
      if query < queryTokens.count {
        queryTokens[query][layer * mass.count + group] += Float(mass[group] / Double(definition.heads.count))
      }
    }
    entropy[place] += Float(rowEntropy / Double(rowCount))
    // Of the groups, not of the row: what falls on padding is in no group.
    rowSumError = max(rowSumError, abs(mass.reduce(0, +) - 1))
  }
}

/// Why imported attention was refused.
public enum AttentionImportError: DescribedError {
  case missingTensor(path: String, tensor: String)
  case wrongShape(path: String, tensor: String, found: [Int], expected: String)
  case unknownRole(path: String, row: Int, found: Int, limit: Int)
  case notProbabilities(path: String, tensor: String, place: String, found: String)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case missingTensor = "import_missing_tensor"
    case wrongShape = "import_wrong_shape"
    case unknownRole = "import_unknown_role"
    case notProbabilities = "import_not_probabilities"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .missingTensor: .missingTensor
    case .wrongShape: .wrongShape
    case .unknownRole: .unknownRole
    case .notProbabilities: .notProbabilities
    }
  }

  /// The file concerned, if there is one.
  public var path: String? {
    switch self {
    case .missingTensor(let path, _), .wrongShape(let path, _, _, _), .unknownRole(let path, _, _, _),
      .notProbabilities(let path, _, _, _):
      path
    }
  }

  /// What was wrong, where, and what was expected.
  public var errorDescription: String? {
    switch self {
    case .missingTensor(let path, let tensor): "\(path): no tensor \"\(tensor)\""
    case .wrongShape(let path, let tensor, let found, let expected):
      "\(path): \"\(tensor)\" has shape \(found.prefix(16)), expected \(expected)"
    case .unknownRole(let path, let row, let found, let limit):
      "\(path): row \(row) of \"roles\" holds \(found), expected −1 for padding or 0 to \(limit - 1)"
    case .notProbabilities(let path, let tensor, let place, let found):
      "\(path): \"\(tensor)\"\(place) is no row of probabilities: found \(found)"
    }
  }

  /// What to do about it.
  public var recoverySuggestion: String? {
    switch self {
    case .missingTensor, .wrongShape:
      "write attention.0, attention.1, … as [batch, heads, tokens, tokens] and roles as int64 [batch, tokens]"
    case .unknownRole:
      "roles count in this order: " + Role.allCases.map(\.rawValue).joined(separator: ", ")
    case .notProbabilities: "write probabilities after softmax, of rows that are not padding"
    }
  }
}
