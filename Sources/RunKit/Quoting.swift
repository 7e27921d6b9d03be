extension String {
  /// The text as a message shows a name or value out of a file: quoted, control characters escaped, cut when long.
  ///
  /// Escaped so that a file cannot steer the terminal on which its error is read.
  public var inQuotes: String {
    let limit = 120
    let text = JSONValue.string(String(String.UnicodeScalarView(unicodeScalars.prefix(limit)))).text()
    return unicodeScalars.dropFirst(limit).isEmpty ? text : text + "…"
  }

  /// The text as a message shows it without quotes: control characters escaped, cut when long.
  ///
  /// For what may come from a file but is no plain name or value: a list, a JSON text, a path.
  ///
  /// - Parameter limit: The most characters (scalars) kept.
  public func shown(limit: Int = 120) -> String {
    var text = ""
    for scalar in unicodeScalars.prefix(limit) {
      let isControl = scalar.value < 0x20 || 0x7F..<0xA0 ~= scalar.value
      text += isControl ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
    }
    return unicodeScalars.dropFirst(limit).isEmpty ? text : text + "…"
  }
}
