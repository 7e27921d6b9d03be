/// Builds a table of comma-separated values.
///
/// Source: Shafranovich, "Common Format and MIME Type for Comma-Separated Values (CSV) Files", RFC 4180, 2005:
/// lines end with CR LF, fields with a comma, quote, CR or LF stand in quotes, quotes inside are doubled.
public struct CSVWriter: Sendable {
  /// One cell of a table.
  public enum Field: Sendable, Equatable, ExpressibleByStringLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByFloatLiteral
  {
    case text(String)
    case integer(Int)
    /// A number in its shortest exact form; empty if it is unknown or not finite.
    case number(Double?)
    /// Nothing.
    case empty

    /// A cell of text.
    public init(stringLiteral value: String) { self = .text(value) }
    /// A cell with a whole number.
    public init(integerLiteral value: Int) { self = .integer(value) }
    /// A cell with a number.
    public init(floatLiteral value: Double) { self = .number(value) }
  }

  /// The table so far, header included.
  public private(set) var text = ""
  /// The number of columns.
  public let columnCount: Int

  /// Starts a table with a header line.
  ///
  /// - Parameter columns: Their names; at least one.
  public init(columns: [String]) {
    precondition(!columns.isEmpty, "a table needs columns")
    columnCount = columns.count
    append(columns.map(Field.text))
  }

  /// Adds a line.
  ///
  /// - Parameter fields: One for each column; another number is a defect of the caller and traps.
  public mutating func append(_ fields: [Field]) {
    precondition(fields.count == columnCount, "\(fields.count) fields for \(columnCount) columns")
    for (index, field) in fields.enumerated() {
      if index > 0 { text += "," }
      text += Self.spelling(of: field)
    }
    text += "\r\n"
  }

  private static func spelling(of field: Field) -> String {
    switch field {
    case .text(let text): quoted(text)
    case .integer(let integer): String(integer)
    case .number(let number?) where number.isFinite: number.description
    case .number, .empty: ""
    }
  }

  private static func quoted(_ text: String) -> String {
    // Bytes, not characters: CR LF is one character to Swift and would be missed.
    let needsQuotes = text.utf8.contains { byte in
      byte == UInt8(ascii: ",") || byte == UInt8(ascii: "\"") || byte == 0x0D || byte == 0x0A
    }
    guard needsQuotes else { return text }
    var quoted = "\""
    for scalar in text.unicodeScalars {
      if scalar == "\"" { quoted += "\"" }
      quoted.unicodeScalars.append(scalar)
    }
    return quoted + "\""
  }
}
