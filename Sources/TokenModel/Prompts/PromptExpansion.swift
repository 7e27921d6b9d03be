import TensorCore

extension LanguageModel {
  /// Puts the media in the places of their placeholders and says what every position is.
  ///
  /// Placeholders stand as one for each medium, or, as the processors of transformers 4.46 and later write them, as one for
  /// each row, with marks of the processor's own between the parts of a medium. Which it is, is seen for each modality.
  ///
  /// - Parameters:
  ///   - ids: With placeholders.
  ///   - pieces: The text of each id, for people.
  ///   - roles: The role of each text id; entries at placeholders, and of ids whose role is fixed, are ignored.
  ///   - promptCount: How many of `ids` are the prompt; the rest is a given answer.
  /// - Throws: `PromptError`.
  public func expand(
    ids: [Int], pieces: [String], roles: [Role], media: [Medium], promptCount: Int, sample: String
  ) throws(PromptError) -> Prompt {
    require(pieces.count == ids.count && roles.count == ids.count, "one piece and one role for each id")
    for medium in media {
      if placeholderID(of: medium.modality) == nil && !modalities.contains(medium.modality) {
        throw .unsupportedModality(
          sample: sample, modality: medium.modality.rawValue, supported: inputNames)
      }
      try validate(medium, sample: sample)
    }
    for (modality, other) in zip(modalities, modalities.dropFirst())
    where placeholderID(of: modality) != nil && placeholderID(of: modality) == placeholderID(of: other) {
      let found = [modality, other].filter { kind in media.contains { $0.modality == kind } }
      guard found.count < 2 else {
        throw .unusableMedium(
          sample: sample, modality: other.rawValue, found: "\(modality.rawValue)s beside it",
          expected: "one of the two: they have the same placeholder")
      }
    }
    var expansion = try PromptExpansion(self, ids: ids, media: media, sample: sample)
    try expansion.run(roles: roles, promptCount: promptCount)
    return Prompt(
      ids: ids, pieces: pieces, media: expansion.ordered, spans: expansion.spans,
      positions: positions(expansion.spans, media: expansion.ordered),
      promptCount: promptCount >= ids.count ? expansion.spans.count : expansion.expandedPromptCount)
  }
}

/// One walk over the ids of a prompt.
private struct PromptExpansion {
  let model: any LanguageModel
  let ids: [Int]
  let sample: String
  /// The media that are still to come.
  var queues: [Modality: [Medium]]
  /// The modalities whose placeholders stand one for each row.
  var expanded: Set<Modality> = []
  var spans = SpanMap()
  /// The media that came, in order.
  var ordered: [Medium] = []
  var expandedPromptCount = 0

  init(_ model: any LanguageModel, ids: [Int], media: [Medium], sample: String) throws(PromptError) {
    (self.model, self.ids, self.sample) = (model, ids, sample)
    queues = Dictionary(grouping: media, by: \.modality)
    var count = ids.count
    for modality in Modality.media {
      let given = queues[modality] ?? []
      let placeholder = model.placeholderID(of: modality)
      let isShared = model.modalities.contains { other in
        other != modality && model.placeholderID(of: other) == placeholder && queues[other] != nil
      }
      if given.isEmpty && isShared { continue }
      let found = placeholder.map { id in ids.count { $0 == id } } ?? 0
      let rows = given.reduce(0) { $0 + model.rowCount(of: $1) }
      if found == given.count {
        // Counted before anything of that size is made: one placeholder may stand for many rows.
        count += rows - given.count
      } else if found == rows && placeholder != nil {
        expanded.insert(modality)
      } else if given.isEmpty || found == 0 || rows == given.count {
        throw .placeholderMismatch(
          sample: sample, modality: modality.rawValue, placeholders: found, media: given.count)
      } else {
        throw .wrongPlaceholderCount(
          sample: sample, modality: modality.rawValue, found: found, media: given.count, rows: rows)
      }
    }
    guard count <= Prompt.positionLimit else {
      throw .tooLong(sample: sample, count: count, limit: Prompt.positionLimit)
    }
  }

  mutating func run(roles: [Role], promptCount: Int) throws(PromptError) {
    let vocabulary = model.decoder.configuration.vocabularySize
    var source = 0
    while source < ids.count {
      if source == promptCount { expandedPromptCount = spans.count }
      let id = ids[source]
      guard 0..<vocabulary ~= id else { throw .idOutOfRange(sample: sample, id: id, vocabulary: vocabulary) }
      let modality = model.modalities.first {
        model.placeholderID(of: $0) == id && queues[$0]?.isEmpty == false
      }
      if let modality, let medium = queues[modality]?.first {
        queues[modality]?.removeFirst()
        source = try append(medium, at: source)
      } else {
        spans.appendText(role: model.fixedRole(of: id) ?? roles[source], source: source)
        source += 1
      }
    }
  }

  /// Appends a medium whose placeholder stands at `start`; gives the place after it.
  private mutating func append(_ medium: Medium, at start: Int) throws(PromptError) -> Int {
    let isExpanded = expanded.contains(medium.modality)
    let (role, placeholder) = (medium.modality.role ?? .separator, ids[start])
    var (source, row) = (start, 0)
    for part in model.rowParts(of: medium) {
      let rows = row..<row + part.rowCount
      row = rows.upperBound
      if case .marks = part {
        while isExpanded, source < ids.count, ids[source] != placeholder {
          spans.appendText(role: .separator, source: source)
          source += 1
        }
        continue
      }
      if isExpanded {
        let run = ids[source...].prefix { $0 == placeholder }.count
        guard run >= rows.count else {
          throw .brokenPlaceholders(
            sample: sample, modality: medium.modality.rawValue, found: run, rows: rows.count)
        }
      }
      if case .grid(let grid) = part {
        spans.appendMedium(
          role: role, grid: grid, medium: ordered.count, rows: rows, source: source, isExpanded: isExpanded)
      } else {
        spans.appendMedium(
          role: .separator, grid: nil, medium: ordered.count, rows: rows, source: source,
          isExpanded: isExpanded)
      }
      if isExpanded { source += rows.count }
    }
    ordered.append(medium)
    return isExpanded ? source : start + 1
  }
}
