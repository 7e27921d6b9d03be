/// The conversation format of Vicuna, `USER: … ASSISTANT: …`, and those made like it, with media where their placeholders
/// stand. A newline stands after every placeholder.
///
/// Source: the chat templates of llava-hf/llava-1.5-7b-hf and llava-hf/llava-v1.6-mistral-7b-hf.
struct VicunaFormat {
  /// What stands before a question.
  var opening = "USER: "
  /// What stands after it.
  var closing = " ASSISTANT:"

  /// `[INST] … [/INST]`.
  static let mistral = VicunaFormat(opening: "[INST] ", closing: " [/INST]")

  /// - Throws: `PromptError.noUserTurn`.
  func parts(_ sample: Sample, modalities: [Modality]) throws(PromptError) -> [FormattedPart] {
    guard sample.turns.last?.speaker == .user else { throw .noUserTurn(sample: sample.id) }
    var parts: [FormattedPart] = [.begin]
    for turn in sample.turns {
      switch turn.speaker {
      case .system: parts.append(.text(turn.text + " ", role: .system))
      case .user:
        parts.append(.text(opening, role: .instruction))
        for part in FormattedPart.splitting(turn.text, at: modalities, role: .question) {
          parts.append(part)
          if case .placeholder = part { parts.append(.text("\n", role: .instruction)) }
        }
        parts.append(.text(closing, role: .instruction))
      case .assistant: parts.append(.text(" \(turn.text) ", role: .response))
      }
    }
    return parts
  }

  /// The answer after the last closing.
  static func answerParts(_ answer: String) -> [FormattedPart] {
    [.text(" " + answer, role: .response), .end]
  }
}
