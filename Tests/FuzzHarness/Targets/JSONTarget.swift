import RunKit

private let longKey = String(repeating: "k", count: 10_000)

/// As many values as are accepted, in the forms that take the most memory, and more.
private let hugeDocuments: [@Sendable () -> [UInt8]] = [
  { repeated("0,", JSONValue.countLimit - 2) }, { repeated("[0],", JSONValue.countLimit / 2 - 1) },
  { repeated(#"{"a":0},"#, JSONValue.countLimit / 2 - 1) }, { repeated("0,", 1 << 22) },
  {
    [UInt8](("{" + (0..<JSONValue.countLimit - 1).map { "\"\($0)\":0" }.joined(separator: ",") + "}").utf8)
  },
]

/// An array of so many elements and a last one.
private func repeated(_ element: String, _ count: Int) -> [UInt8] {
  [UInt8](("[" + String(repeating: element, count: count) + "0]").utf8)
}

extension FuzzTarget {
  /// The JSON reader: what it accepts must be written and read again as the same value.
  static let json = FuzzTarget(
    "json", file: "document.json", layout: .json(words: ["a", "metrics", "", "ключ", "\u{1F600}"]),
    errors: [JSONError.self],
    seeds: [
      #"{"a": [1, 2.5, -3e2, true, false, null], "metrics": {"b": "x\n\u00e9\ud83d\ude00", "": []}}"#,
      "[[], {}, [[1]], 9007199254740993, 1e-7, \"\"]", "\"text\"", "0",
    ].map { [UInt8]($0.utf8) },
    directed: [
      "1e999", "-1e999", "{\"a\":1,\"a\":2}", String(repeating: "[", count: 200_000), "{} {}", "\"\u{0}\"",
      String(repeating: "9", count: 1_000), "{\"" + String(repeating: "k", count: 100_000) + "\" 1}",
      #"{"\n\#(longKey)": 1, "\n\#(longKey)": 2}"#,
    ].map { [UInt8]($0.utf8) } + [[0x22, 0xFF, 0x22]],
    large: hugeDocuments,
    read: { path in
      let bytes = try contents(path)
      let value = try JSONValue(parsing: bytes)
      // A document of a million values is read for its size alone.
      guard bytes.count <= 1 << 20 else { return }
      for layout in [JSONValue.Layout.compact, .indented] {
        guard try JSONValue(parsing: value.text(layout)) == value else {
          throw FuzzFailure(message: "written and read again, the document is another")
        }
      }
    })
}
