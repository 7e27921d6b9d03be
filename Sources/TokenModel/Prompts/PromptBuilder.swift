extension LanguageModel {
  /// A sample as the model sees it.
  ///
  /// - Parameter includesAnswer: Whether the expected answer follows the prompt, for teacher forcing.
  /// - Throws: `PromptError`, `TokenizerError`.
  public func prompt(for sample: Sample, tokenizer: any Tokenizer, includesAnswer: Bool = false) throws
    -> Prompt
  {
    let parts = try format(sample)
    for modality in Modality.media {
      let found = parts.count { $0 == .placeholder(modality) }
      let media = sample.media.count { $0.modality == modality }
      guard found == 0 || modalities.contains(modality) else {
        throw PromptError.unsupportedModality(
          sample: sample.id, modality: modality.rawValue, supported: inputNames)
      }
      // A family may write out one placeholder for each row.
      let isWrittenOut = media > 0 && found > media
      guard found == media || isWrittenOut || !modalities.contains(modality) else {
        throw PromptError.placeholderMismatch(
          sample: sample.id, modality: modality.rawValue, placeholders: found, media: media)
      }
    }
    var builder = PromptBuilder(model: self, tokenizer: tokenizer)
    try builder.append(parts)
    let promptCount = builder.ids.count
    if includesAnswer, let answer = sample.answer { try builder.append(answerParts(answer)) }
    return try expand(
      ids: builder.ids, pieces: builder.ids.map { tokenizer.piece($0) ?? "<\($0)>" }, roles: builder.roles,
      media: sample.media, promptCount: promptCount, sample: sample.id)
  }
}

/// Collects the ids of a formatted conversation and their roles.
private struct PromptBuilder {
  /// Text that is encoded together, and the role of each stretch of it.
  private struct Run {
    var text = ""
    /// Where each stretch ends in the text, and its role.
    var ends: [(text: String, role: Role)] = []

    /// Neighbours of one role are one stretch.
    mutating func append(_ addition: String, _ role: Role) {
      text += addition
      if ends.last?.role == role { ends.removeLast() }
      ends.append((text, role))
    }
  }

  let model: any LanguageModel
  let tokenizer: any Tokenizer
  private(set) var ids: [Int] = []
  private(set) var roles: [Role] = []
  /// The text of the run that is already in `ids`, and where its ids begin.
  private var last = (text: "", start: 0)
  private var run = Run()

  init(model: any LanguageModel, tokenizer: any Tokenizer) {
    (self.model, self.tokenizer) = (model, tokenizer)
  }

  /// Appends the ids of these parts.
  mutating func append(_ parts: [FormattedPart]) throws {
    for part in parts {
      switch part {
      case .begin:
        try flush()
        if let id = model.decoder.configuration.beginID ?? tokenizer.beginID { append([id], .bos) }
        last = ("", ids.count)
      case .end:
        try flush()
        if let id = tokenizer.endID ?? model.decoder.configuration.endIDs.first { append([id], .response) }
        last = ("", ids.count)
      case .text(let text, let role):
        if model.encodesPromptAsOneText {
          run.append(text, role)
        } else {
          append(try tokenizer.encode(text), role)
        }
      case .placeholder(let modality): try appendPlaceholder(of: modality)
      }
    }
    try flush()
  }

  private mutating func appendPlaceholder(of modality: Modality) throws {
    // Checked before: the model takes the modality.
    guard let id = model.placeholderID(of: modality), let role = modality.role else { return }
    let piece = tokenizer.piece(id) ?? ""
    if model.encodesPromptAsOneText, try tokenizer.encode(piece).last == id {
      run.append(piece, role)
    } else {
      try flush()
      append([id], role)
      last = ("", ids.count)
    }
  }

  private mutating func append(_ new: [Int], _ role: Role) {
    ids += new
    roles += [Role](repeating: role, count: new.count)
  }

  /// Encodes the run. A stretch has the ids that differ from those of the text before it: an id over a boundary belongs to
  /// the later stretch.
  private mutating func flush() throws {
    guard !run.text.isEmpty else { return }
    defer {
      last.text += run.text
      run = Run()
    }
    // Text that goes on after text is encoded as its continuation, unless that would change ids that stand already.
    let before = Array(ids[last.start...])
    var (prefix, done) = (last.text, before)
    var whole = try tokenizer.encode(prefix + run.text)
    if !whole.starts(with: before) {
      (prefix, done, whole) = ("", [], try tokenizer.encode(run.text))
    }
    var start = done.count
    for (index, stretch) in run.ends.enumerated() {
      let isLast = index + 1 == run.ends.count
      let encoded = isLast ? whole : try tokenizer.encode(prefix + stretch.text)
      let common = isLast ? whole.count : zip(encoded, whole).prefix { $0 == $1 }.count
      if common > start { append(Array(whole[start..<common]), stretch.role) }
      start = max(start, common)
    }
  }
}
