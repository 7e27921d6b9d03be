extension LanguageModel {
  /// A sample as the model sees it: its own raw prompt, or its turns laid out by a chat template, or by `format`.
  ///
  /// The text is encoded as a whole, as transformers does it, and each id gets the role of the characters it stands for.
  /// A raw prompt has the role of a question throughout.
  ///
  /// - Parameters:
  ///   - template: Lays out the turns; nil leaves that to `format`.
  ///   - includesAnswer: Whether the expected answer follows the prompt, for teacher forcing.
  /// - Throws: `PromptError`, `TokenizerError`, `ChatTemplateError`.
  public func prompt(
    for sample: Sample, tokenizer: any Tokenizer, template: ChatTemplate?, includesAnswer: Bool = false
  ) throws -> Prompt {
    var rendered: RenderedPrompt
    if let raw = sample.rawPrompt {
      rendered = RenderedPrompt(text: raw, role: .question)
    } else if let template, usesChatTemplate(for: sample) {
      rendered = try template.render(
        messages: sample.turns.map { ChatMessage($0) }, addsGenerationPrompt: true,
        variables: tokenizer.namedPieces)
    } else {
      return try prompt(for: sample, tokenizer: tokenizer, includesAnswer: includesAnswer)
    }
    rendered = try written(rendered, media: sample.media, tokenizer: tokenizer, sample: sample.id)
    // A processor begins what it encodes; the tokenizer of a text model leaves that to the template.
    let addsBeginning = sample.rawPrompt != nil || !modalities.isEmpty
    var tokens = try rendered.encode(with: tokenizer, addingBeginning: addsBeginning)
    let promptCount = tokens.count
    if includesAnswer, let answer = sample.answer {
      tokens += try tokenizer.encode(answer).map { RenderedPrompt.Token(id: $0, role: .response) }
      if let end = tokenizer.endID ?? decoder.configuration.endIDs.first {
        tokens.append(RenderedPrompt.Token(id: end, role: .response))
      }
    }
    return try expand(
      ids: tokens.map(\.id), pieces: tokens.map { tokenizer.piece($0.id) ?? "<\($0.id)>" },
      roles: tokens.map(\.role), media: sample.media, promptCount: promptCount, sample: sample.id)
  }

  /// The text with what the family's processor writes in the place of media.
  ///
  /// Where a text has more placeholders than media, they are written out already.
  private func written(
    _ rendered: RenderedPrompt, media: [Medium], tokenizer: any Tokenizer, sample: String
  ) throws(PromptError) -> RenderedPrompt {
    var rendered = rendered
    for modality in modalities {
      guard let word = placeholderText(of: modality, tokenizer),
        let placeholder = placeholderID(of: modality).flatMap({ tokenizer.piece($0) })
      else { continue }
      let own = media.filter { $0.modality == modality }
      let places = rendered.places(of: word)
      guard !own.isEmpty, places.count == own.count else { continue }
      var parts: [[RenderedPrompt.Part]] = []
      for medium in own {
        try validate(medium, sample: sample)
        guard let written = writtenParts(of: medium) else { break }
        parts.append(
          written.compactMap { part in
            switch part {
            case .text(let text, let role): RenderedPrompt.Part(text: text, role: role)
            case .placeholder: RenderedPrompt.Part(text: placeholder, role: .separator)
            case .begin, .end: nil
            }
          })
      }
      if parts.count == own.count { rendered = rendered.replacing(places, by: parts) }
    }
    return rendered
  }
}
