public import TokenModel

/// What the contributions of a run mean: the method with its choices, and the number that is explained.
///
/// The number explained, the target, is a function of the logits of the last prompt row, and of one piece of the vocabulary.
public struct ContributionDefinition: Equatable, Sendable {
  /// The function of the logits that is explained.
  public enum Target: String, CaseIterable, Sendable {
    /// The logit of the piece.
    case logit
    /// The natural logarithm of its probability.
    case logProbability = "log-probability"
    /// Its logit minus that of the strongest other piece on the full prompt.
    case margin

    /// The choice in words.
    ///
    /// - Parameter piece: What the piece is called.
    func explanation(of piece: String) -> String {
      switch self {
      case .logit: "logit of \(piece)"
      case .logProbability: "log-probability of \(piece), in nats"
      case .margin: "logit of \(piece) minus that of the strongest other piece on the full prompt"
      }
    }
  }

  /// The piece whose logit is explained.
  public enum Piece: String, CaseIterable, Sendable {
    /// The first piece of the reference answer.
    case answer
    /// The most likely piece on the full prompt.
    case prediction

    /// The choice in words.
    public var explanation: String {
      switch self {
      case .answer: "the first piece of the reference answer"
      case .prediction: "the most likely first piece"
      }
    }
  }

  /// How a modality is taken away.
  public enum Removal: String, CaseIterable, Sendable {
    /// Its rows are left out; later rows move up.
    case deletion
    /// Media are fed their mean input, the question becomes padding; the number of rows stays.
    case blank
    /// Every row becomes the mean row of the embedding table; the number of rows stays.
    case mean
    /// It is replaced by that of another sample, drawn by the seed.
    case replacement

    /// The choice in words.
    public var explanation: String {
      switch self {
      case .deletion: "rows deleted"
      case .blank: "media at their mean input, question as padding"
      case .mean: "rows set to the mean of the embedding table"
      case .replacement: "replaced by another sample's"
      }
    }
  }

  /// Where integrated gradients begin.
  public enum Baseline: String, CaseIterable, Sendable {
    /// Rows of zeros.
    case zero
    /// Media at their mean input, the question as padding; all other rows as they are.
    case blank
    /// Every row the mean row of the embedding table.
    case mean

    /// The choice in words.
    public var explanation: String {
      switch self {
      case .zero: "all rows zero"
      case .blank: "media at their mean input, question as padding, other rows unchanged"
      case .mean: "all rows the mean of the embedding table"
      }
    }
  }

  /// The rows that an attention knockout blinds.
  public enum Blinded: Equatable, Sendable {
    /// The last prompt row.
    case last
    /// Every row outside the hidden group.
    case others
    /// The rows of a role.
    case role(Role)

    /// The written form.
    public var name: String {
      switch self {
      case .last: "last"
      case .others: "others"
      case .role(let role): role.rawValue
      }
    }

    /// Every written form.
    public static let names = ["last", "others"] + Role.allCases.map(\.rawValue)

    /// Reads a written form; nil when it is none.
    public init?(_ name: String) {
      switch name {
      case "last": self = .last
      case "others": self = .others
      default:
        guard let role = Role(rawValue: name) else { return nil }
        self = .role(role)
      }
    }
  }

  /// The way from a model to contributions, with its choices.
  public enum Method: Equatable, Sendable {
    /// Exact Shapley values of these roles as players.
    case shapley(players: [Role], removal: Removal)
    /// Attention from `queries` to `keys` is cut in all layers, in every run of `window` layers, and if asked for in each
    /// head of each layer alone.
    case knockout(queries: [Blinded], keys: [Role], window: Int, byHead: Bool)
    /// Norms of what the last prompt row takes from each group.
    case valueNorm
    /// Gradient times embedding.
    case gradientInput
    /// Integrated gradients over so many steps.
    case integratedGradients(steps: Int, baseline: Baseline)

    /// The name, as on the command line.
    public var name: String {
      switch self {
      case .shapley: "shapley"
      case .knockout: "knockout"
      case .valueNorm: "value-norm"
      case .gradientInput: "grad-input"
      case .integratedGradients: "ig"
      }
    }

    /// The method and its choices in words.
    public var explanation: String {
      switch self {
      case .shapley(let players, let removal):
        "exact Shapley values of \(players.map(\.rawValue).joined(separator: ", ")); absent: \(removal.explanation)"
      case .knockout(let queries, let keys, let window, let byHead):
        "attention knockout, keys \(keys.map(\.rawValue).joined(separator: ", ")) hidden from "
          + "\(queries.map(\.name).joined(separator: ", ")), in all layers, in windows of \(window)"
          + (byHead ? ", and in single heads" : "")
      case .valueNorm:
        "norms of attention times value after the output projection, last prompt row, mean over layers"
      case .gradientInput: "gradient x input on the embedding rows"
      case .integratedGradients(let steps, let baseline):
        "integrated gradients, midpoint rule of \(steps) steps; baseline: \(baseline.explanation)"
      }
    }

    /// What the unsigned contributions of a group are, whose shares stand beside attention shares.
    public var magnitude: String {
      switch self {
      case .shapley: "|Shapley value|"
      case .knockout(let queries, _, _, _):
        "|change of the target| when the group is hidden from \(queries[0].name) in all layers"
      case .valueNorm: "sum over tokens of the norm of their part, as a fraction in each layer"
      case .gradientInput, .integratedGradients: "sum over tokens of |gradient x difference|"
      }
    }
  }

  /// The method.
  public var method: Method
  /// What is explained.
  public var target: Target
  /// Of which piece.
  public var piece: Piece

  /// The method, and what it explains.
  public init(method: Method, target: Target = .logit, piece: Piece = .answer) {
    (self.method, self.target, self.piece) = (method, target, piece)
  }

  /// The target in words.
  public var targetText: String { target.explanation(of: piece.explanation) }

  /// Whether a group has a signed effect on the target.
  public var hasEffects: Bool { method != .valueNorm }

  /// Where attention is cut.
  struct CutPlace: Equatable {
    /// The layers.
    let layers: Range<Int>
    /// The head, or nil for all.
    let head: Int?

    /// How `cellNames` calls it.
    var name: String {
      head.map { "layer \(layers.lowerBound) head \($0)" }
        ?? "layers \(layers.lowerBound)-\(layers.upperBound - 1)"
    }
  }

  /// Where attention is cut: all layers, then every run of `window` layers, then each head of each layer.
  static func cutPlaces(_ window: Int, byHead: Bool, layerCount: Int, headCount: Int) -> [CutPlace] {
    var places = [CutPlace(layers: 0..<layerCount, head: nil)]
    if window < layerCount {
      places += (0...layerCount - window).map { CutPlace(layers: $0..<$0 + window, head: nil) }
    }
    if byHead {
      places += (0..<layerCount).flatMap { layer in
        (0..<headCount).map { CutPlace(layers: layer..<layer + 1, head: $0) }
      }
    }
    return places
  }

  /// How many names `cellNames` gives; nil where that is too large a number.
  func cellCount(layerCount: Int, headCount: Int, groupCount: Int) -> Int? {
    func product(_ factors: [Int]) -> Int? {
      factors.reduce(1) { total, factor in
        guard let (result, overflow) = total.map({ $0.multipliedReportingOverflow(by: factor) }), !overflow
        else {
          return nil
        }
        return result
      }
    }
    switch method {
    case .shapley(let players, _): return 1 << players.count
    case .knockout(let queries, let keys, _, let byHead):
      // At most one window a layer, and all layers.
      return product([2, keys.count, queries.count, layerCount + 1, byHead ? headCount + 1 : 1])
    case .valueNorm: return product([2, layerCount, groupCount])
    case .gradientInput, .integratedGradients: return 0
    }
  }

  /// The names of the numbers in `Contribution.cells`.
  ///
  /// - Shapley: the target with these players present, `image+audio`, in binary order, the first player lowest; `none`.
  /// - Knockout: keys, blinded rows, layers or a head, then `probability`, (p′ − p) / p of the piece, or `target`, its change.
  /// - Value norms: layer, group, then `tokens`, the share of summed norms, or `vector`, the share of the norms of sums.
  func cellNames(layerCount: Int, headCount: Int, groups: [String]) -> [String] {
    switch method {
    case .shapley(let players, _):
      return (0..<1 << players.count).map { coalition in
        let present = players.indices.filter { coalition >> $0 & 1 == 1 }.map { players[$0].rawValue }
        return present.isEmpty ? "none" : present.joined(separator: "+")
      }
    case .knockout(let queries, let keys, let window, let byHead):
      let places = Self.cutPlaces(window, byHead: byHead, layerCount: layerCount, headCount: headCount)
      return keys.flatMap { key in
        queries.flatMap { query in
          places.flatMap { place in
            ["probability", "target"].map { "\(key.rawValue).\(query.name).\(place.name).\($0)" }
          }
        }
      }
    case .valueNorm:
      return (0..<layerCount).flatMap { layer in
        groups.flatMap { group in ["tokens", "vector"].map { "layer \(layer).\(group).\($0)" } }
      }
    case .gradientInput, .integratedGradients: return []
    }
  }
}
