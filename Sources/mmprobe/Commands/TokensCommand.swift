import RunKit
import TokenModel

/// `mmprobe tokens`: the prompt as the model sees it.
struct TokensCommand: Command {
  static let name = "tokens"
  static let summary = "the tokens of a prompt with roles, media and grids; no inference"
  static let discussion = """
    Shows what every position of a prompt is for: the span map that all statistics
    use. The rows of a medium stand on one line with the grid they fill.
    """
  static let positionals = [Positional.model]
  static let options = SampleOptions.declarations
  static let examples = [
    Example(
      purpose: "A prompt with two media",
      line:
        "tokens checkpoints/avdigits --image five.pgm --audio five.wav \\\n    --text \"what digit is written ?\""
    )
  ]

  private let model: String
  private let sample: SampleOptions

  init(_ arguments: Arguments) throws(UsageError) {
    model = try arguments[Positional.model]
    sample = try SampleOptions(arguments)
  }

  func validate() throws(UsageError) { try sample.requireText(Self.name) }

  func run(_ session: Session) throws -> ExitStatus {
    let checkpoint = try Support.checkpoint(model)
    let prompt = try checkpoint.prompt(for: sample.sample(for: checkpoint))
    let lines = Self.lines(prompt)
    if session.console.wantsJSON {
      let tokens = lines.map { line -> JSONValue in
        [
          "first": .integer(line.positions.lowerBound), "count": .integer(line.positions.count),
          "piece": .string(line.piece), "id": .integer(line.id), "role": .string(line.role.rawValue),
          "grid": line.grid.map { [.integer($0.rows), .integer($0.columns)] } ?? .null,
        ]
      }
      let counts = prompt.spans.counts.map { ($0.role.rawValue, JSONValue.integer($0.count)) }
      try session.console.document([
        "count": .integer(prompt.count), "roles": .object(JSONObject(counts)), "tokens": .array(tokens),
      ])
      return .success
    }
    var table = TextTable([
      .number("position"), .text("piece"), .number("id"), .text("role"), .text("medium"),
    ])
    for line in lines {
      let first = line.positions.lowerBound
      table.append([
        line.positions.count == 1 ? "\(first)" : "\(first)-\(line.positions.upperBound - 1)", line.piece,
        "\(line.id)",
        line.role.rawValue,
        line.grid.map { "\(line.positions.count) rows, \($0.rows) x \($0.columns)" } ?? "",
      ])
    }
    try session.console.write(table.text)
    let counts = prompt.spans.counts.map { "\($0.role.rawValue) \($0.count)" }.joined(separator: " | ")
    try session.console.line("prompt \(prompt.count) tokens = \(counts)")
    return .success
  }

  /// One position of text, or the positions of one medium.
  private struct Line {
    let positions: Range<Int>
    let piece: String
    let id: Int
    let role: Role
    let grid: SpanMap.Grid?
  }

  private static func lines(_ prompt: Prompt) -> [Line] {
    prompt.spans.spans.flatMap { span -> [Line] in
      let parts = span.medium == nil ? span.positions.map { $0..<$0 + 1 } : [span.positions]
      return parts.map { positions in
        Line(
          positions: positions, piece: prompt.piece(at: positions.lowerBound),
          id: prompt.ids[prompt.spans.sources[positions.lowerBound]], role: span.role, grid: span.grid)
      }
    }
  }
}
