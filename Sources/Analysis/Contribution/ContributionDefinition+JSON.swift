public import RunKit
import TokenModel

extension ContributionDefinition {
  /// The definition as it stands in config.json and result.json.
  public var json: JSONValue {
    var object = JSONObject([("method", .string(method.name))])
    func words(_ names: [String]) -> JSONValue { .array(names.map { .string($0) }) }
    switch method {
    case .shapley(let players, let removal):
      object["players"] = words(players.map(\.rawValue))
      object["removal"] = .string(removal.rawValue)
    case .knockout(let queries, let keys, let window, let byHead):
      object["queries"] = words(queries.map(\.name))
      object["keys"] = words(keys.map(\.rawValue))
      object["window"] = .integer(window)
      object["by_head"] = .bool(byHead)
    case .valueNorm, .gradientInput: break
    case .integratedGradients(let steps, let baseline):
      object["steps"] = .integer(steps)
      object["baseline"] = .string(baseline.rawValue)
    }
    object["target"] = .string(target.rawValue)
    object["piece"] = .string(piece.rawValue)
    return .object(object)
  }

  /// The most players of exact Shapley values, whose number of forward passes doubles with each.
  public static let playerLimit = 8
  /// The most steps of integrated gradients.
  public static let stepLimit = 4096

  /// Reads what `json` writes.
  ///
  /// - Throws: `AttentionRecordError`, naming the file and the key.
  init(_ object: StrictObject) throws(AttentionRecordError) {
    var reader = object
    let name = try reader.string("method")
    func roles(_ key: String, limit: Int) throws(AttentionRecordError) -> [Role] {
      let names = try reader.strings(key)
      let roles = names.compactMap { Role(rawValue: $0) }
      guard roles.count == names.count, Set(roles).count == roles.count, 1...limit ~= roles.count else {
        throw .wrongValue(
          place: reader.place, key: reader.name(key), found: "\(names)",
          expected: "1 to \(limit) different roles")
      }
      return roles
    }
    let method: Method
    switch name {
    case "shapley":
      method = .shapley(
        players: try roles("players", limit: Self.playerLimit),
        removal: try reader.choice("removal", of: Removal.self))
    case "knockout":
      let names = try reader.strings("queries")
      let queries = names.compactMap { Blinded($0) }
      guard !queries.isEmpty, queries.count == names.count, Set(names).count == names.count else {
        throw .wrongValue(
          place: reader.place, key: reader.name("queries"), found: "\(names)",
          expected: "last, others or roles, each once")
      }
      let flag = try reader.value("by_head")
      guard let byHead = flag.boolValue else { throw reader.wrongType("by_head", flag, "true or false") }
      method = .knockout(
        queries: queries, keys: try roles("keys", limit: Role.allCases.count),
        window: try reader.int("window", in: 1...1 << 20), byHead: byHead)
    case "value-norm": method = .valueNorm
    case "grad-input": method = .gradientInput
    case "ig":
      method = .integratedGradients(
        steps: try reader.int("steps", in: 1...Self.stepLimit),
        baseline: try reader.choice("baseline", of: Baseline.self))
    default:
      throw .wrongValue(
        place: reader.place, key: reader.name("method"), found: "\"\(name)\"",
        expected: "shapley, knockout, value-norm, grad-input or ig")
    }
    self.init(
      method: method, target: try reader.choice("target", of: Target.self),
      piece: try reader.choice("piece", of: Piece.self))
    try reader.finish()
  }
}
