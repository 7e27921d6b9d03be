extension FormattedPart {
  /// Cuts a text at its placeholders, `<image>` and so on; a newline after one belongs to it, as LLaVA data has it.
  static func splitting(_ text: String, at modalities: [Modality], role: Role) -> [FormattedPart] {
    var parts: [FormattedPart] = []
    var rest = Substring(text)
    while true {
      let next = modalities.compactMap { modality -> (Range<Substring.Index>, Modality)? in
        rest.range(ofLiteral: "<\(modality.rawValue)>").map { ($0, modality) }
      }.min { $0.0.lowerBound < $1.0.lowerBound }
      guard let (range, modality) = next else { break }
      if range.lowerBound > rest.startIndex {
        parts.append(.text(String(rest[..<range.lowerBound]), role: role))
      }
      parts.append(.placeholder(modality))
      rest = rest[range.upperBound...]
      if rest.first == "\n" { rest = rest.dropFirst() }
    }
    if !rest.isEmpty { parts.append(.text(String(rest), role: role)) }
    return parts
  }
}

extension Substring {
  /// Where `literal` first stands, compared by bytes.
  fileprivate func range(ofLiteral literal: String) -> Range<Index>? {
    let pattern = Array(literal.utf8)
    var start = utf8.startIndex
    while start < utf8.endIndex {
      let tail = utf8[start...]
      if tail.starts(with: pattern) { return start..<utf8.index(start, offsetBy: pattern.count) }
      start = utf8.index(after: start)
    }
    return nil
  }
}
