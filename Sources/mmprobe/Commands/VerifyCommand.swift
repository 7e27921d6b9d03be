import Analysis
import RunKit
import TensorCore
import TokenModel

/// `mmprobe verify`: is what this program computes right for this checkpoint?
struct VerifyCommand: Command {
  static let name = "verify"
  static let summary = "compare with a reference or check invariants; exit 3 on a miss"
  static let discussion = """
    With --reference, every tensor of the file that has a name of 'mmprobe trace' is
    compared element by element with what this program computes from the inputs in
    the same file. Names may share a prefix, so that one file holds several cases:
    a.input_ids, a.logits, left.input_ids, left.attention_mask, left.logits. Also
    understood: attn.N, hidden.last, inputs_embeds, image_features, and _f64 after a
    name. Media without a prefix serve every case; patches with a grid_thw under a
    prefix of their own serve the cases with that grid. Only real rows
    (attention_mask 1) count. NaN does not pass. Other tensors are listed.

    Without it, what must hold for any checkpoint is checked: finite weights,
    attention rows that sum to 1 and see no later row, the same logits with and
    without a cache, shares that do not depend on the block size, and the same bits
    alone and in a batch.

    With --against, the same rows go through both models: the divergence of the
    next-token distribution (KL in nats, of this model from the other) and the
    attention share of every role, layer by layer. --data says what goes through;
    without it one drawn sequence does. --max-divergence makes it a check.
    """
  static let reference = Option<String?>.text(
    "reference", "FILE", "safetensors file with inputs and expected outputs")
  static let tolerance = Option<Double>.number(
    "tolerance", in: .above(0, atMost: 1000), default: 1e-4,
    "largest absolute difference of hidden states and logits")
  static let attentionTolerance = Option<Double>.number(
    "attention-tolerance", in: .above(0, atMost: 1), default: 2e-5,
    "largest absolute difference of attention probabilities")
  static let tokens = Option<Int>.integer(
    "tokens", in: 8...4096, default: 40, "length of the drawn text without --reference")
  static let against = Option<String?>.text(
    "against", "MODEL", "model folder that this one was made from")
  static let maxDivergence = Option<Double?>.number(
    "max-divergence", in: .above(0, atMost: 1000), absence: "no limit",
    "largest mean divergence in nats that passes, with --against")
  static let positionals = [Positional.model]
  static let options =
    [
      reference.declaration, tolerance.declaration, attentionTolerance.declaration, tokens.declaration,
      against.declaration, maxDivergence.declaration,
    ] + DataOptions.declarations
  static let examples = [
    Example(purpose: "Invariants", line: "verify checkpoints/avdigits"),
    Example(purpose: "Against another program", line: "verify model --reference reference.safetensors"),
  ]

  private let model: String
  private let reference: String?
  private var tolerance = ReferenceComparison.Tolerance()
  private let tokenCount: Int
  private let against: String?
  private let maxDivergence: Double?
  private let data: DataOptions

  init(_ arguments: Arguments) throws(UsageError) {
    model = try arguments[Positional.model]
    reference = try arguments[Self.reference]
    tolerance.values = try arguments[Self.tolerance]
    tolerance.attention = try arguments[Self.attentionTolerance]
    tokenCount = try arguments[Self.tokens]
    against = try arguments[Self.against]
    maxDivergence = try arguments[Self.maxDivergence]
    data = try DataOptions(arguments)
    if against != nil && reference != nil {
      throw .conflict(
        reason: "--against compares with a model, --reference with a file", remedy: "leave one of them out")
    }
    if against == nil && (maxDivergence != nil || data.path != nil) {
      throw .conflict(reason: "--max-divergence and --data are for --against", remedy: "give --against MODEL")
    }
    if reference == nil && (arguments.isGiven(Self.tolerance) || arguments.isGiven(Self.attentionTolerance)) {
      throw .conflict(reason: "tolerances are for --reference", remedy: "give --reference, or leave them out")
    }
    if reference != nil && arguments.isGiven(Self.tokens) {
      throw .conflict(reason: "--tokens is for checks without --reference", remedy: "leave one of them out")
    }
  }

  func run(_ session: Session) throws -> ExitStatus {
    let checkpoint = try Support.checkpoint(model)
    let console = session.console
    if let reference {
      let comparison = try ReferenceComparison(
        SafetensorsFile(path: reference), model: checkpoint.model, tolerance: tolerance)
      try console.wantsJSON ? console.document(json(comparison)) : show(comparison, console)
      return comparison.passed ? .success : .checkNotPassed
    }
    if let against { return try compare(checkpoint, with: against, session) }
    let invariants = try InvariantChecks(checkpoint, tokenCount: tokenCount, seed: session.globals.seed)
    try console.wantsJSON ? console.document(json(invariants)) : show(invariants, console)
    return invariants.passed ? .success : .checkNotPassed
  }

  private func compare(_ checkpoint: Checkpoint, with path: String, _ session: Session) throws -> ExitStatus {
    let original = try Support.checkpoint(path)
    var samples: [Sample] = []
    if data.path != nil {
      let set = try data.open()
      samples = try (0..<data.count(of: set)).map { try set.sample(at: $0, for: checkpoint) }
    }
    let drift = try CheckpointDrift(
      from: original, to: checkpoint, samples: samples, tokenCount: tokenCount, seed: session.globals.seed)
    let passed = maxDivergence.map { drift.meanDivergence <= $0 } ?? true
    if session.console.wantsJSON {
      try session.console.document(json(drift, passed: passed))
    } else {
      try show(drift, session.console)
    }
    return passed ? .success : .checkNotPassed
  }

  private func show(_ drift: CheckpointDrift, _ console: Console) throws {
    var table = TextTable([
      .number("layer"), .text("keys"), .number("share in the original"), .number("in the copy"),
      .number("difference"),
    ])
    for share in drift.shares {
      table.append([
        "\(share.layer)", share.role.rawValue, Decimals.text(share.original, places: 4),
        Decimals.text(share.copy, places: 4), Support.scientific(share.copy - share.original),
      ])
    }
    try console.write(table.text)
    try console.line(
      "\(Support.counted(drift.rowCount, "row")) of \(Support.counted(drift.sampleCount, "sequence")): mean divergence "
        + "\(Support.scientific(drift.meanDivergence)) nats, largest \(Support.scientific(drift.largestDivergence)); the same token "
        + "most likely in \(Decimals.text(100 * drift.agreement, places: 1)) % of rows")
    if let largest = drift.largestDrift {
      try console.line(
        "largest drift of a share: \(Support.scientific(largest.copy - largest.original)) "
          + "(layer \(largest.layer), \(largest.role.rawValue))")
    }
    if let maxDivergence, drift.meanDivergence > maxDivergence {
      try console.line("the mean divergence is above \(Support.scientific(maxDivergence)): MISS")
    }
  }

  private func json(_ drift: CheckpointDrift, passed: Bool) -> JSONValue {
    let shares = drift.shares.map { share -> JSONValue in
      [
        "layer": .integer(share.layer), "role": .string(share.role.rawValue),
        "original": .number(share.original), "copy": .number(share.copy),
      ]
    }
    return [
      "passed": .bool(passed), "samples": .integer(drift.sampleCount), "rows": .integer(drift.rowCount),
      "mean_divergence_nats": JSONValue(drift.meanDivergence),
      "max_divergence_nats": JSONValue(drift.largestDivergence), "agreement": JSONValue(drift.agreement),
      "shares": .array(shares),
    ]
  }

  private func show(_ comparison: ReferenceComparison, _ console: Console) throws {
    var table = TextTable([
      .text("tensor"), .number("elements"), .number("max abs diff"), .number("tolerance"), .text("result"),
    ])
    for row in comparison.rows {
      table.append([
        row.name, Support.grouped(row.elementCount), row.largestDifference.map(Support.scientific) ?? "-",
        Support.scientific(row.tolerance), row.passed ? "ok" : row.problem ?? "MISS",
      ])
    }
    if !table.isEmpty { try console.write(table.text) }
    for leftover in comparison.notCompared {
      try console.line("not compared: \(leftover.name) (\(leftover.reason))")
    }
    let missed = comparison.rows.count { !$0.passed }
    let verdict = comparison.rows.isEmpty ? "nothing to compare" : missed == 0 ? "passed" : "\(missed) missed"
    try console.line(
      "\(comparison.rows.count) tensors, \(Support.grouped(comparison.elementCount)) elements compared: \(verdict)"
    )
  }

  private func show(_ invariants: InvariantChecks, _ console: Console) throws {
    var table = TextTable([
      .text("what must hold"), .number("deviation"), .number("tolerance"), .text("result"), .text("checked"),
    ])
    for check in invariants.checks {
      table.append([
        check.name, Support.scientific(check.deviation), Support.scientific(check.tolerance),
        check.passed ? "ok" : "MISS", check.detail,
      ])
    }
    try console.write(table.text)
    let missed = invariants.checks.count { !$0.passed }
    try console.line(missed == 0 ? "all \(invariants.checks.count) hold" : "\(missed) missed")
  }

  private func json(_ comparison: ReferenceComparison) -> JSONValue {
    let rows = comparison.rows.map { row -> JSONValue in
      [
        "name": .string(row.name), "elements": .integer(row.elementCount),
        "max_abs_diff": JSONValue(row.largestDifference), "tolerance": .number(row.tolerance),
        "passed": .bool(row.passed), "problem": row.problem.map(JSONValue.string) ?? .null,
      ]
    }
    let leftovers = comparison.notCompared.map { leftover -> JSONValue in
      ["name": .string(leftover.name), "reason": .string(leftover.reason)]
    }
    return [
      "passed": .bool(comparison.passed), "tensors": .integer(comparison.rows.count),
      "elements": .integer(comparison.elementCount), "compared": .array(rows),
      "not_compared": .array(leftovers),
    ]
  }

  private func json(_ invariants: InvariantChecks) -> JSONValue {
    let checks = invariants.checks.map { check -> JSONValue in
      [
        "name": .string(check.name), "deviation": JSONValue(check.deviation),
        "tolerance": .number(check.tolerance),
        "passed": .bool(check.passed), "detail": .string(check.detail),
      ]
    }
    return ["passed": .bool(invariants.passed), "checks": .array(checks)]
  }
}
