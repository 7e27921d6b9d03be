import RunKit

/// A table for people: titles, cells, and what has to be said of them.
public struct PrintedTable: Sendable, Equatable {
  /// Titles of columns; the first is of text, the others of numbers.
  public let titles: [String]
  /// One cell for each column; `nothing` where there is nothing.
  public let rows: [[String]]
  /// Sentences below the table.
  public let notes: [String]
}

// MARK: How numbers are written

extension PrintedTable {
  /// The cell of an unknown number.
  static let nothing = "–"

  /// A share in percent.
  static func percent(_ share: Double?) -> String {
    share.map { Decimals.text(100 * $0, places: 1) } ?? nothing
  }

  /// The bounds of an interval of shares, in percent.
  static func bounds(_ interval: ConfidenceInterval?) -> String {
    interval.map { "\(percent($0.lower)) to \(percent($0.upper))" } ?? nothing
  }

  /// The confidence of intervals, the title of their column.
  static func level(_ confidence: Double) -> String {
    let percent = 100 * confidence
    return Decimals.text(percent, places: percent == percent.rounded() ? 0 : 1) + " %"
  }

  /// A P value.
  static func probability(_ value: Double?) -> String {
    guard let value else { return nothing }
    return value < 0.001 ? "< 0.001" : Decimals.text(value, places: 3)
  }

  /// How many seeds a mean is over.
  static func seeds(_ count: Int) -> String { count == 1 ? "1 seed" : "\(count) seeds" }
}
