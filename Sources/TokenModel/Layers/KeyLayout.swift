/// How the tensors of a family are called in checkpoint files.
///
/// Versions of transformers write the same weights under different names: LLaVA's decoder is `language_model.model` on the
/// Hub and `model.language_model` since 4.52. A family names its parts once, the way its code asks for them, and lists for
/// each part the prefixes it is known by; the first that the files have is taken.
///
///     KeyLayout(["model": ["language_model.model", "model.language_model"], "lm_head": ["language_model.lm_head", "lm_head"]])
public struct KeyLayout: Sendable, Equatable {
  /// One part: the family's own prefix, or whole name, and what it may be in files, the most specific first.
  struct Part: Sendable, Equatable {
    let prefix: String
    let alternatives: [String]
  }

  private let parts: [Part]

  /// Names as they are.
  public static let identity = KeyLayout([:])

  /// - Parameter parts: For each of the family's own prefixes the prefixes known from files. Where one is the beginning
  ///   of another, the longer one comes first.
  public init(_ parts: KeyValuePairs<String, [String]>) {
    self.init(parts: parts.map { Part(prefix: $0.key, alternatives: $0.value) })
  }

  /// The layout with more parts.
  func adding(_ more: KeyValuePairs<String, [String]>) -> KeyLayout {
    KeyLayout(parts: parts + KeyLayout(more).parts)
  }

  private init(parts: [Part]) {
    // A name belongs to the longest prefix that fits.
    self.parts = parts.sorted { ($0.prefix.utf8.count, $1.prefix) > ($1.prefix.utf8.count, $0.prefix) }
  }

  /// The layout with one prefix for each part: the first alternative some tensor has, else the first of all, so that an
  /// error names a tensor.
  public func resolved(in names: [String]) -> KeyLayout {
    KeyLayout(
      parts: parts.map { part in
        let found = part.alternatives.first { prefix in
          names.contains { $0 == prefix || $0.hasPrefix(prefix + ".") }
        }
        return Part(prefix: part.prefix, alternatives: [found ?? part.alternatives.first ?? part.prefix])
      })
  }

  /// The name in the files of a tensor of the family.
  public func name(of own: String) -> String {
    for part in parts where own == part.prefix || own.hasPrefix(part.prefix + ".") {
      return (part.alternatives.first ?? part.prefix) + own.dropFirst(part.prefix.count)
    }
    return own
  }

  /// What modules and tensors are called in the model classes of transformers since 4.52, whose names adapters carry: the
  /// decoder, the towers and the projector stand in `model`, the output layer beside it.
  public func moduleName(of own: String) -> String {
    for part in parts where own == part.prefix || own.hasPrefix(part.prefix + ".") {
      let inner = part.alternatives.filter { $0.hasPrefix("model.") }.min { $0.utf8.count < $1.utf8.count }
      let outer = part.alternatives.first { $0 == part.prefix }
      return (inner ?? outer ?? part.alternatives.first ?? part.prefix) + own.dropFirst(part.prefix.count)
    }
    return own
  }

  /// Every name a module or tensor of the family is known by, that of today's classes first.
  public func moduleNames(of own: String) -> [String] {
    for part in parts where own == part.prefix || own.hasPrefix(part.prefix + ".") {
      let rest = own.dropFirst(part.prefix.count)
      let first = moduleName(of: own)
      return [first] + part.alternatives.map { $0 + rest }.filter { $0 != first }
    }
    return [own]
  }

  /// The family's own name of a tensor of a file, whichever alternative it uses; nil where it belongs to no part.
  public func ownName(of name: String) -> String? {
    let known = parts.flatMap { part in part.alternatives.map { (part.prefix, $0) } }
    let match = known.filter { name == $0.1 || name.hasPrefix($0.1 + ".") }.max {
      $0.1.utf8.count < $1.1.utf8.count
    }
    return match.map { $0.0 + name.dropFirst($0.1.count) }
  }
}
