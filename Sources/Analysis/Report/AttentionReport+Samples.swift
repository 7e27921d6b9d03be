import TokenModel

extension AttentionReport {
  /// The samples kept with their keys, drawn with their media.
  var highlightSection: Markup {
    let kept = records.filter { $0.keys != nil }
    guard !kept.isEmpty else { return Markup() }
    let drawn = kept.prefix(Self.highlightLimit)
    let cards = drawn.map { sampleCard($0) }
    let more = kept.count > drawn.count ? " \(drawn.count) of \(kept.count) samples kept are drawn." : ""
    return section(
      "Single samples",
      "What the shares look like on the samples themselves. One sample proves nothing; the figures above do the counting. "
        + "Text: the stronger the colour, the more attention. Media: as the model gets them, and beside coloured by the "
        + "attention on each key, in the native grid, each medium on its own scale. Strip: one bar a key, in the order of "
        + "the prompt. Bars below: where each query row looks, named by the piece it predicts." + more,
      cards.joined())
  }

  private func sampleCard(_ record: AttentionRecord) -> Markup {
    guard let keys = record.keys else { return Markup() }
    let tags = record.tags.sorted { $0.key < $1.key }.map {
      "<span class=\"tag\">\($0.key): \($0.value)</span>" as Markup
    }
    return figureCard(
      """
      <header><h3>\(record.id)</h3>\(tags)</header>
      \(pieces(record, keys))
      \(answers(record))
      \(media(record, keys))
      \(keyStrip(keys))
      \(steps(record))
      """,
      caption:
        "Attention of a key: mean over layers, heads and query rows; at most \(Text.percent(textMost(keys))) on a piece "
        + "of text. \(basis)")
  }

  private func figureCard(_ content: Markup, caption: String) -> Markup {
    "<figure class=\"sample\">\(content)<figcaption>\(caption)</figcaption></figure>"
  }

  // MARK: Text

  private func isMedium(_ group: Int) -> Bool {
    definition.groups[group].roles.contains { Role.media.contains($0) || $0 == .separator }
  }

  private func textMost(_ keys: AttentionRecord.Keys) -> Double {
    keys.share.indices.filter { !isMedium(keys.groups[$0]) }.map { Double(keys.share[$0]) }.max() ?? 0
  }

  /// The prompt with its pieces shaded, media as one mark each.
  private func pieces(_ record: AttentionRecord, _ keys: AttentionRecord.Keys) -> Markup {
    let most = textMost(keys)
    var line = Markup()
    var position = 0
    while position < keys.share.count {
      let group = keys.groups[position]
      if isMedium(group) {
        var end = position
        var sum = 0.0
        while end < keys.share.count, keys.groups[end] == group {
          sum += Double(keys.share[end])
          end += 1
        }
        line += """
          <span class="medium \(groupClass(group))">\(name(group)) · \(Text.count(end - position, "key")) · \(Text.percent(sum))</span>
          """
        position = end
        continue
      }
      let piece = keys.pieces[position]
      let share = Double(keys.share[position])
      let strength = most > 0 ? 0.5 * max(0, share) / most : 0
      let mark = piece.hasPrefix("<") && piece.hasSuffix(">") ? " mark" : ""
      line += """
        <span class="piece\(mark) \(groupClass(group))" style="--a:\(strength)" title="\(name(group)) \(Text.percent(share))">\
        \(Self.shown(piece))</span>
        """
      position += 1
    }
    return "<p class=\"pieces\">\(line)</p>"
  }

  /// A piece as people read it: the word mark becomes a space, line ends a sign.
  private static func shown(_ piece: String) -> String {
    piece.replacing("\u{2581}", with: " ").replacing("\n", with: "⏎").replacing("\t", with: "⇥")
  }

  private func answers(_ record: AttentionRecord) -> Markup {
    var parts: [Markup] = []
    if let answer = record.answer {
      parts.append("<span><span class=\"soft\">reference</span> \(answer)</span>")
    }
    if let generated = record.generated {
      let verdict: Markup =
        switch record.answer {
        case nil: ""
        case generated?: "<span class=\"right\">✓</span>"
        default: "<span class=\"wrong\">✗</span>"
        }
      parts.append("<span><span class=\"soft\">generated</span> \(generated) \(verdict)</span>")
    }
    return parts.isEmpty ? "" : "<div class=\"answer\">\(parts)</div>"
  }

  // MARK: Media

  private func media(_ record: AttentionRecord, _ keys: AttentionRecord.Keys) -> Markup {
    guard !record.media.isEmpty else { return Markup() }
    let parts = record.media.enumerated().map { number, medium in
      picture(medium, keys, id: "m\(record.index)-\(number)")
    }
    return "<div class=\"media\">\(parts)</div>"
  }

  /// A medium plain and beside it coloured by the attention on each of its keys.
  private func picture(_ medium: AttentionRecord.Medium, _ keys: AttentionRecord.Keys, id: String) -> Markup {
    let shares = (0..<medium.keys).map { Double(keys.share[medium.firstKey + $0]) }
    let most = shares.max() ?? 0
    let group = keys.groups[medium.firstKey]
    let (columns, rows) = (Double(medium.gridWidth), Double(medium.gridHeight))
    // Cells are whole units of the drawing, so that their edges meet.
    let (width, height) = (Double(medium.width), Double(medium.height))
    let cells = shares.enumerated().map { key, share -> Markup in
      let (row, column) = key.quotientAndRemainder(dividingBy: medium.gridWidth)
      let strength = most > 0 ? 0.78 * max(0, share) / most : 0
      return """
        <rect class="\(medium.gridWidth > 16 ? "" : "cell")" x="\(Double(column) * width / columns)" y="\(Double(row) * height / rows)" \
        width="\(width / columns)" height="\(height / rows)" fill-opacity="\(strength)">\
        <title>\(medium.kind) key \(key): \(Text.percent(share))</title></rect>
        """
    }
    let size: Markup = "viewBox=\"0 0 \(medium.width) \(medium.height)\""
    let image: Markup = """
      <image id="\(id)" href="\(medium.pictureAddress)" width="\(medium.width)" height="\(medium.height)" preserveAspectRatio="none" style="image-rendering:pixelated"/>
      """
    let what = medium.kind == "audio" ? "log-mel, time →, pitch ↑" : "as the model gets it"
    let sum = shares.reduce(0, +)
    return """
      <div><svg \(size) role="img" aria-label="\(medium.kind)">\(image)</svg><p>\(medium.kind), \(what)</p></div>\
      <div><svg \(size) class="\(groupClass(group))" role="img" aria-label="attention on \(medium.kind)"><use href="#\(id)"/>\(cells)</svg>\
      <p><b class="ink \(groupClass(group))">\(Text.percent(sum))</b> of the attention; most on one key \(Text.percent(most))</p></div>
      """
  }

  /// One bar a key, in the order of the prompt; long prompts are drawn as the greatest of neighbouring keys.
  private func keyStrip(_ keys: AttentionRecord.Keys) -> Markup {
    guard !keys.share.isEmpty else { return Markup() }
    let most = Double(keys.share.max() ?? 0)
    let width = max(1, (keys.share.count + 511) / 512)
    let count = (keys.share.count + width - 1) / width
    let bars = (0..<count).map { bar -> Markup in
      let range = bar * width..<min((bar + 1) * width, keys.share.count)
      let key = range.max { keys.share[$0] < keys.share[$1] } ?? range.lowerBound
      let share = Double(keys.share[key])
      let tall = most > 0 ? 52 * max(0, share) / most : 0
      return """
        <rect class="\(groupClass(keys.groups[key]))" x="\(percent: Double(bar) / Double(count))" y="\(52 - tall)" \
        width="\(percent: 0.86 / Double(count))" height="\(max(tall, 0.5))"><title>\(key): \(Self.shown(keys.pieces[key])) \
        (\(name(keys.groups[key]))) \(Text.percent(share))</title></rect>
        """
    }
    return """
      <svg class="keys" width="100%" height="52" role="img" aria-label="Attention on each key in the order of the prompt">\(bars)</svg>
      """
  }

  // MARK: Query rows

  private func steps(_ record: AttentionRecord) -> Markup {
    let shown = record.queryTokens.prefix(12)
    guard !shown.isEmpty else { return Markup() }
    let (layers, count) = (definition.layers.count, definition.groups.count)
    let rows = shown.map { token -> Markup in
      let shares = groups.map { ($0, token.meanShare($0, layers: layers, groups: count)) }
      let word = token.predicts.map { "→ " + Self.shown($0) } ?? Self.shown(token.piece)
      return
        "<div class=\"row\"><code title=\"row \(token.row), piece \(token.piece)\">\(word)</code>\(stack(shares))</div>"
    }
    return "<div class=\"steps\">\(rows)</div>"
  }
}
