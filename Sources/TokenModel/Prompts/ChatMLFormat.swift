/// The conversation format of Qwen's models, `<|im_start|>user … <|im_end|>`, with media between marks of their own.
///
/// A conversation without a system turn begins with "You are a helpful assistant.".
///
/// Source: the chat templates of Qwen2-VL-Instruct, Qwen2.5-VL-Instruct and Qwen2-Audio-Instruct.
struct ChatMLFormat {
  /// What stands before and after a placeholder, with the number of the medium in the conversation, from 1.
  let marks: @Sendable (Modality, _ number: Int) -> (before: [FormattedPart], after: [FormattedPart])

  private static let defaultSystem = "You are a helpful assistant."

  /// - Throws: `PromptError.noUserTurn`.
  func parts(_ sample: Sample, modalities: [Modality]) throws(PromptError) -> [FormattedPart] {
    guard sample.turns.last?.speaker == .user else { throw .noUserTurn(sample: sample.id) }
    var parts: [FormattedPart] = []
    var numbers: [Modality: Int] = [:]
    if sample.turns.first?.speaker != .system {
      parts.append(.text("<|im_start|>system\n\(Self.defaultSystem)<|im_end|>\n", role: .system))
    }
    for turn in sample.turns {
      switch turn.speaker {
      case .system: parts.append(.text("<|im_start|>system\n\(turn.text)<|im_end|>\n", role: .system))
      case .user:
        parts.append(.text("<|im_start|>user\n", role: .instruction))
        for part in FormattedPart.splitting(turn.text, at: modalities, role: .question) {
          guard case .placeholder(let modality) = part else {
            parts.append(part)
            continue
          }
          numbers[modality, default: 0] += 1
          let (before, after) = marks(modality, numbers[modality, default: 1])
          parts += before + [part] + after
        }
        parts.append(.text("<|im_end|>\n", role: .instruction))
      case .assistant:
        parts.append(.text("<|im_start|>assistant\n", role: .instruction))
        parts.append(.text(turn.text, role: .response))
        parts.append(.text("<|im_end|>\n", role: .instruction))
      }
    }
    return parts + [.text("<|im_start|>assistant\n", role: .instruction)]
  }

  /// Images and videos between `<|vision_start|>` and `<|vision_end|>`.
  static let vision = ChatMLFormat { _, _ in
    ([.text("<|vision_start|>", role: .separator)], [.text("<|vision_end|>", role: .separator)])
  }

  /// Sounds as `Audio 1: <|audio_bos|>…<|audio_eos|>` on lines of their own.
  static let audio = ChatMLFormat { _, number in
    (
      [
        .text("Audio \(number): ", role: .instruction), .text("<|audio_bos|>", role: .separator),
      ],
      [.text("<|audio_eos|>", role: .separator), .text("\n", role: .instruction)]
    )
  }
}
