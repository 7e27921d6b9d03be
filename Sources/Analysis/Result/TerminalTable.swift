/// Columns of plain text, aligned by the number of characters.
struct TerminalTable {
  private var rows: [[String]]
  /// Columns whose text starts at the left; numbers end at the right.
  private let leftColumns: Set<Int>

  init(header: [String], leftColumns: Set<Int> = [0]) {
    rows = [header]
    self.leftColumns = leftColumns
  }

  mutating func append(_ cells: [String]) { rows.append(cells) }

  var text: String {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      let line = row.indices.map { column in
        let space = String(repeating: " ", count: widths[column] - row[column].count)
        return leftColumns.contains(column) ? row[column] + space : space + row[column]
      }.joined(separator: "  ")
      return line.trimmedAtEnd
    }.joined(separator: "\n") + "\n"
  }
}

extension String {
  /// The text without spaces at its end.
  fileprivate var trimmedAtEnd: String {
    var text = self
    while text.last == " " { text.removeLast() }
    return text
  }

  /// The text with control characters shown as spaces, so that data cannot steer a terminal.
  var printable: String {
    String(
      String.UnicodeScalarView(
        unicodeScalars.map { $0.value < 0x20 || (0x7F..<0xA0).contains($0.value) ? " " : $0 }))
  }
}

extension AttentionSummary {
  /// The numbers for a terminal, with their definition: what `attention` prints when it is done.
  public var terminalText: String {
    let model = context.model
    var text =
      "\(model.name.printable)  \(model.architecture.printable)  \(model.layerCount) layers x \(model.headCount) heads  "
      + "\(model.dtype.printable)\n"
    text += "\(context.data.name.printable)  \(Text.count(measuredCount, "sample"))"
    if !skipped.isEmpty { text += ", \(skipped.count) skipped" }
    text += "  tokens: " + tokensText + "\n\n"
    if let contribution, let definition = context.definition.contribution {
      text += contributionDefinition(definition) + "\n\n" + contributionTable(contribution, definition)
    } else {
      text += definitionText + "\n\n" + sharesTable
      if !indices.isEmpty { text += "\n" + indicesTable }
    }
    let important = warnings.filter { $0.level == .warning }
    if !important.isEmpty { text += "\n" }
    for warning in important { text += "warning: \(warning.message.printable)\n" }
    return text
  }

  /// "bos 1 | image 16 | question 8–14": the tokens of a sample.
  var tokensText: String {
    zip(groups, tokens).compactMap { group, counts in
      guard let least = counts.minimum, let most = counts.maximum, most > 0 else { return nil }
      return "\(group.name) " + (least == most ? "\(least)" : "\(least)–\(most)")
    }.joined(separator: " | ")
  }

  /// What the numbers mean, in two lines.
  var definitionText: String {
    let definition = context.definition
    let heads = definition.heads.count == 1 ? "1 head" : "mean of \(definition.heads.count) heads"
    let layers = definition.layers.count == 1 ? "1 layer" : "\(definition.layers.count) layers"
    return
      "queries: \(definition.queries.rawValue) (\(definition.queries.explanation))   \(heads), \(layers)   "
      + "\(definition.sinks.explanation)\n" + "intervals: " + intervalText
  }

  /// How intervals were made, and over how many samples.
  var intervalText: String {
    guard measuredCount > 1 else { return "none (\(Text.count(measuredCount, "sample")))" }
    let items = context.definition.interval.clusterKey.map { key in
      " in \(Text.count(clusterCount ?? 0, "\(key) item"))"
    }
    return "\(intervalMethod), over \(Text.count(measuredCount, "sample"))\(items ?? "")"
  }

  /// How intervals were made.
  var intervalMethod: String {
    let interval = context.definition.interval
    let percent = 100 * interval.level
    let level = Text.fixed(percent, percent == percent.rounded() ? 0 : 1) + " %"
    switch interval.method {
    case .bootstrap:
      return "\(level), percentile bootstrap, \(interval.replicates) resamples, seed \(interval.seed)"
    case .t: return "\(level), Student's t"
    }
  }

  /// The groups that are text in an index, as far as they occur.
  var textNames: String {
    context.definition.textGroups.filter { occurs($0) }.map { groups[$0].name.printable }.joined(
      separator: ", ")
  }

  /// Whether a group occurs in the data.
  func occurs(_ group: Int) -> Bool { (tokens[group].maximum ?? 0) > 0 }

  private var sharesTable: String {
    var header = ["", "share", "interval", "token share", "uniform", "vs uniform", "per token"]
    let showsBos = context.definition.sinks != .included && context.definition.bosGroup != nil
    let showsSinks = context.definition.sinks == .auto
    if showsBos { header.append("no bos") }
    if showsSinks { header.append("no sinks") }
    var table = TerminalTable(header: header)
    for (position, group) in groups.enumerated() where occurs(position) {
      var cells = [
        group.name.printable, Text.percent(group.share.mean), Self.interval(group.share, Text.percent),
        Text.percent(group.tokenShare.mean), Text.percent(group.baseline.mean),
        Text.times(group.uniformRatio.mean),
        Text.percent(group.efficiency.mean),
      ]
      if showsBos { cells.append(Text.percent(group.shareWithoutBos.mean)) }
      if showsSinks { cells.append(Text.percent(group.shareWithoutSinks.mean)) }
      table.append(cells)
    }
    var text = table.text
    text += "share: attention on the group, sums to 100 %; token share: part of all tokens;\n"
    text += "uniform: what equal attention under the same mask would give; vs uniform: share / uniform;\n"
    text += "per token: share / tokens the query can see; both: means over samples of each sample's ratio\n"
    if showsBos { text += "no bos: part of what bos leaves\n" }
    if showsSinks { text += "no sinks: part of what is left without bos and \(sinkText)\n" }
    return text
  }

  /// Which keys count as sinks.
  var sinkText: String {
    "keys that draw over \(Text.fixed(100 * context.definition.sinkThreshold, 0)) % of the attention of at least "
      + "\(Text.fixed(100 * AttentionDefinition.sinkRate, 0)) % of the heads"
  }

  private var indicesTable: String {
    var table = TerminalTable(
      header: [
        "text against", "MDI", "interval", "early", "middle", "late", "log ratio", "= count", "+ content",
      ])
    for index in indices {
      table.append([
        index.medium.rawValue, Text.short(index.mdi.all.mean), Self.interval(index.mdi.all, Text.short),
        Text.short(index.mdi.early.mean), Text.short(index.mdi.middle.mean), Text.short(index.mdi.late.mean),
        Text.fixed(index.split.all.shares.mean, 2), Text.fixed(index.split.all.counts.mean, 2),
        Text.fixed(index.split.all.content.mean, 2),
      ])
    }
    let (early, middle, late) = context.definition.layerGroups
    func numbers(_ range: Range<Int>) -> String {
      range.map { String(context.definition.layers[$0]) }.joined(separator: " ")
    }
    return table.text
      + "MDI: attention per text token / per token of the medium (above 1: text leads), mean over samples;\n"
      + "text: \(textNames); layers from 0: early \(numbers(early)), middle \(numbers(middle)), late \(numbers(late));\n"
      + "log ratio: ln(text share / share of the medium), split exactly into the part of the token counts and the rest\n"
  }

  /// "low – high", or "–".
  static func interval(_ estimate: Estimate, _ text: (Double?) -> String) -> String {
    guard let low = estimate.low, let high = estimate.high else { return "–" }
    let (lowText, highText) = (text(low), text(high))
    if lowText.hasSuffix(" %"), highText.hasSuffix(" %") { return "\(lowText.dropLast(2)) – \(highText)" }
    return "\(lowText) – \(highText)"
  }
}
