import Analysis
import RunKit
import TokenModel

/// What to explain and how: the options of `contribution` that define its numbers.
struct ContributionOptions {
  /// The methods, as on the command line.
  enum MethodName: String, CaseIterable, Sendable {
    case shapley
    case knockout
    case valueNorm = "value-norm"
    case gradientInput = "grad-input"
    case integratedGradients = "ig"
  }

  static let method = Option<MethodName>.choice(
    "method", "METHOD", default: .shapley, "how contributions are measured")
  static let target = Option<ContributionDefinition.Target>.choice(
    "target", "WHAT", default: .logit, "what is explained, of one piece at the last prompt row")
  static let piece = Option<ContributionDefinition.Piece?>.choice(
    "piece", "WHICH", absence: "answer if every sample has one, else prediction",
    "the piece: the first of the reference answer, or the most likely one")
  static let removal = Option<ContributionDefinition.Removal>.choice(
    "removal", "HOW", default: .deletion,
    "shapley: delete the rows of a modality, feed a blank (mean input, padding), the mean of the embedding "
      + "table, or another sample's")
  static let keys = Option<[String]>.list(
    "keys", "ROLES", absence: "the media of the model and question",
    "knockout: roles whose keys are hidden, one at a time")
  static let queries = Option<[String]>.list(
    "queries", "ROWS", absence: "others,last,question",
    "knockout: rows that are blinded: last, others (all but the hidden), or roles; the first gives the effect"
  )
  static let window = Option<Int?>.integer(
    "window", in: 1...4096, absence: "a third of the layers, rounded up",
    "knockout: layers that are cut together, besides all layers")
  static let byHead = Option<Bool>.flag("by-head", "knockout: also cut each head of each layer alone")
  static let steps = Option<Int>.integer(
    "steps", in: 1...ContributionDefinition.stepLimit, default: 64, "ig: steps of the midpoint rule")
  static let baseline = Option<ContributionDefinition.Baseline>.choice(
    "baseline", "WHAT", default: .zero,
    "ig: where the path begins: zero rows, blank media and question, or the mean of the embedding table")
  static let declarations =
    [
      method.declaration, target.declaration, piece.declaration, removal.declaration, keys.declaration,
      queries.declaration, window.declaration, byHead.declaration, steps.declaration, baseline.declaration,
    ] + IntervalOptions.declarations

  private let method: MethodName
  private let target: ContributionDefinition.Target
  private let piece: ContributionDefinition.Piece?
  private let removal: ContributionDefinition.Removal
  private let keys: [Role]
  private let queries: [ContributionDefinition.Blinded]
  private let window: Int?
  private let byHead: Bool
  private let steps: Int
  private let baseline: ContributionDefinition.Baseline
  private let interval: IntervalOptions
  private let foreign: (option: String, method: MethodName)?

  /// Whether another sample of the data is needed.
  var needsOtherSamples: Bool { method == .shapley && removal == .replacement }

  init(_ arguments: Arguments) throws(UsageError) {
    method = try arguments[Self.method]
    target = try arguments[Self.target]
    piece = try arguments[Self.piece]
    removal = try arguments[Self.removal]
    keys = try Self.roles(try arguments[Self.keys], arguments.command)
    queries = try Self.blinded(try arguments[Self.queries], arguments.command)
    window = try arguments[Self.window]
    byHead = try arguments[Self.byHead]
    steps = try arguments[Self.steps]
    baseline = try arguments[Self.baseline]
    interval = try IntervalOptions(arguments)
    let owners: [(Bool, String, MethodName)] = [
      (arguments.isGiven(Self.removal), "--removal", .shapley),
      (arguments.isGiven(Self.keys), "--keys", .knockout),
      (arguments.isGiven(Self.queries), "--queries", .knockout),
      (arguments.isGiven(Self.window), "--window", .knockout),
      (arguments.isGiven(Self.byHead), "--by-head", .knockout),
      (arguments.isGiven(Self.steps), "--steps", .integratedGradients),
      (arguments.isGiven(Self.baseline), "--baseline", .integratedGradients),
    ]
    let method = method
    foreign = owners.first { $0.0 && $0.2 != method }.map { ($0.1, $0.2) }
  }

  /// Refuses options of another method.
  func validate() throws(UsageError) {
    if let foreign {
      throw .conflict(
        reason: "\(foreign.option) is for --method \(foreign.method.rawValue), not for \(method.rawValue)",
        remedy: "leave it out")
    }
  }

  /// The definition for a model.
  ///
  /// - Parameter hasAnswers: Decides the piece if none was given.
  func definition(_ model: any LanguageModel, hasAnswers: Bool, seed: Int) throws(UsageError)
    -> AttentionDefinition
  {
    let sizes = model.decoder.configuration
    let parts = model.modalities.compactMap(\.role) + [.question]
    let chosen: ContributionDefinition.Method
    switch method {
    case .shapley: chosen = .shapley(players: parts, removal: removal)
    case .knockout:
      let window = window ?? (sizes.layerCount + 2) / 3
      guard window <= sizes.layerCount else {
        throw .badValue(
          option: "--window", found: "\(window)",
          expected: "at most \(sizes.layerCount), the layers of the model",
          command: ContributionCommand.name)
      }
      chosen = .knockout(
        queries: queries.isEmpty ? [.others, .last, .role(.question)] : queries,
        keys: keys.isEmpty ? parts : keys, window: window, byHead: byHead)
    case .valueNorm: chosen = .valueNorm
    case .gradientInput: chosen = .gradientInput
    case .integratedGradients: chosen = .integratedGradients(steps: steps, baseline: baseline)
    }
    return AttentionDefinition(
      queries: .last, layers: Array(0..<sizes.layerCount), heads: Array(0..<sizes.headCount), sinks: .bos,
      interval: interval.interval(seed: seed),
      contribution: ContributionDefinition(
        method: chosen, target: target, piece: piece ?? (hasAnswers ? .answer : .prediction)))
  }

  private static func roles(_ names: [String], _ command: String) throws(UsageError) -> [Role] {
    let known = Role.allCases.map(\.rawValue)
    var roles: [Role] = []
    for name in names {
      guard let role = Role(rawValue: name), !roles.contains(role) else {
        throw badName("--keys", name, known, command)
      }
      roles.append(role)
    }
    return roles
  }

  private static func blinded(
    _ names: [String], _ command: String
  ) throws(UsageError) -> [ContributionDefinition.Blinded] {
    var blinded: [ContributionDefinition.Blinded] = []
    for name in names {
      guard let rows = ContributionDefinition.Blinded(name), !blinded.contains(rows) else {
        throw badName("--queries", name, ContributionDefinition.Blinded.names, command)
      }
      blinded.append(rows)
    }
    return blinded
  }

  private static func badName(
    _ option: String, _ name: String, _ known: [String], _ command: String
  ) -> UsageError {
    .badValue(
      option: option, found: name,
      expected: "each once, of \(known.joined(separator: ", "))."
        + NameSuggestion.question(for: name, in: known),
      command: command)
  }
}
