extension String {
  /// The text as a message shows a name or value out of a file: quoted, control characters escaped, cut when long.
  ///
  /// Escaped so that a file cannot steer the terminal on which its error is read.
  public var inQuotes: String {
    let limit = 120
    let text = JSONValue.string(String(String.UnicodeScalarView(unicodeScalars.prefix(limit)))).text()
    return unicodeScalars.dropFirst(limit).isEmpty ? text : text + "…"
  }
}
