import Analysis
import Foundation
import RunKit
import TokenModel

/// What to measure: the options of `attention` that define its numbers.
struct AttentionOptions {
  /// What happens to keys that draw attention whatever they contain.
  enum SinkChoice: String, CaseIterable, Sendable {
    case none
    case bos
    case auto

    var sinks: AttentionDefinition.Sinks {
      switch self {
      case .none: .included
      case .bos: .bos
      case .auto: .auto
      }
    }
  }

  static let queries = Option<AttentionDefinition.Queries?>.choice(
    "queries", "SET", absence: "answer if every sample has one, else generated",
    "rows whose attention is measured")
  static let groups = Option<[String]>.list(
    "groups", "LIST", absence: "each role its own group",
    "groups of keys: roles, or NAME=ROLE+ROLE, with commas between, or the path of a text file (with a / or .) "
      + "of one such group a line; roles left out are the group other")
  static let sinks = Option<SinkChoice>.choice(
    "exclude-sinks", "WHICH", default: .bos,
    "also give shares without the bos token, or without all detected sinks")
  static let layers = Option<IndexSelection>.custom(
    "layers", "LIST", default: .all, notes: "default all; as in 0,1,8-15", "layers to measure, from 0",
    read: IndexSelection.read)
  static let heads = Option<IndexSelection>.custom(
    "heads", "LIST", default: .all, notes: "default all; as in 0,3", "heads to measure, from 0",
    read: IndexSelection.read)
  static let declarations =
    [
      queries.declaration, groups.declaration, sinks.declaration, layers.declaration, heads.declaration,
    ] + IntervalOptions.declarations

  /// Where the groups come from.
  private enum Groups {
    case list([AttentionDefinition.Group])
    /// A file, read when the run begins.
    case file(String)
  }

  private let queries: AttentionDefinition.Queries?
  private let groups: Groups
  private let sinks: AttentionDefinition.Sinks
  private let layers: IndexSelection
  private let heads: IndexSelection
  private let interval: IntervalOptions
  private let command: String

  /// Whether the command line names a query set.
  var asksForQueries: Bool { queries != nil }

  init(_ arguments: Arguments) throws(UsageError) {
    queries = try arguments[Self.queries]
    let names = try arguments[Self.groups]
    command = arguments.command
    if names.isEmpty {
      groups = .list(AttentionDefinition.defaultGroups)
    } else if let path = names.first, names.count == 1, !path.contains("="),
      path.contains(where: { $0 == "/" || $0 == "." })
    {
      groups = .file(path)
    } else {
      groups = .list(try Self.groups(names, command))
    }
    sinks = try arguments[Self.sinks].sinks
    layers = try arguments[Self.layers]
    heads = try arguments[Self.heads]
    interval = try IntervalOptions(arguments)
  }

  /// The definition for a model of so many layers and heads.
  ///
  /// - Parameter hasAnswers: Decides the query set if none was given.
  /// - Throws: `UsageError`, `FileError`.
  func definition(
    layerCount: Int, headCount: Int, hasAnswers: Bool, seed: Int
  ) throws -> AttentionDefinition {
    AttentionDefinition(
      queries: queries ?? (hasAnswers ? .answer : .generated), groups: try readGroups(),
      layers: try layers.indices(below: layerCount, option: "--layers", what: "layers"),
      heads: try heads.indices(below: headCount, option: "--heads", what: "heads"), sinks: sinks,
      interval: interval.interval(seed: seed))
  }

  private static let fileLimit = 1 << 16

  private func readGroups() throws -> [AttentionDefinition.Group] {
    switch groups {
    case .list(let groups): return groups
    case .file(let path):
      let text = try FileReader.text(of: URL(fileURLWithPath: path), limit: Self.fileLimit)
      let lines = text.split(whereSeparator: \.isNewline).map { line in
        String(line.prefix { $0 != "#" }.filter { !$0.isWhitespace })
      }
      let entries = lines.filter { !$0.isEmpty }
      guard !entries.isEmpty else {
        throw UsageError.badValue(
          option: "--groups", found: path, expected: "a file with one group a line", command: command)
      }
      return try Self.groups(entries, command)
    }
  }

  private static func groups(
    _ entries: [String], _ command: String
  ) throws(UsageError) -> [AttentionDefinition.Group] {
    let known = Role.allCases.map(\.rawValue)
    var groups: [AttentionDefinition.Group] = []
    var used: Set<Role> = []
    for entry in entries {
      let parts = entry.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      let names = (parts.count == 2 ? parts[1] : parts[0]).split(
        separator: "+", omittingEmptySubsequences: false)
      var roles: [Role] = []
      for name in names.map(String.init) {
        guard let role = Role(rawValue: name) else {
          throw .badValue(
            option: "--groups", found: name,
            expected: "one of \(known.joined(separator: ", "))."
              + NameSuggestion.question(for: name, in: known),
            command: command)
        }
        guard used.insert(role).inserted else {
          throw .badValue(
            option: "--groups", found: entry, expected: "each role in one group", command: command)
        }
        roles.append(role)
      }
      let name = parts[0]
      if name.isEmpty || name == "other" || groups.contains(where: { $0.name == name }) {
        throw .badValue(
          option: "--groups", found: entry, expected: "a name of its own for each group", command: command)
      }
      groups.append(.init(name: name, roles: roles))
    }
    let rest = Role.allCases.filter { !used.contains($0) }
    // Shares of all groups sum to 1, so no role may be left out.
    if !rest.isEmpty { groups.append(.init(name: "other", roles: rest)) }
    return groups
  }
}

/// Some of the layers or heads of a model.
enum IndexSelection: Sendable, Equatable {
  case all
  case ranges([ClosedRange<Int>])

  /// Reads `0,1,8-15`.
  static func read(_ text: String) throws(ValueProblem) -> IndexSelection {
    let problem = ValueProblem(expected: "numbers from 0 and ranges, as in 0,1,8-15")
    var ranges: [ClosedRange<Int>] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
      guard 1...2 ~= ends.count, let first = ends[0], let last = ends[ends.count - 1], 0 <= first,
        first <= last,
        last < 1 << 20
      else { throw problem }
      ranges.append(first...last)
    }
    return .ranges(ranges)
  }

  /// The chosen numbers, ascending.
  func indices(below count: Int, option: String, what: String) throws(UsageError) -> [Int] {
    guard case .ranges(let ranges) = self else { return Array(0..<count) }
    if let bad = ranges.first(where: { $0.upperBound >= count }) {
      throw .badValue(
        option: option, found: "\(bad.upperBound)",
        expected: "at most \(count - 1): the model has \(count) \(what)",
        command: AttentionCommand.name)
    }
    return Set(ranges.flatMap(Array.init)).sorted()
  }
}
