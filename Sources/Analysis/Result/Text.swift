import Foundation

/// Numbers for people. Files for programs hold them exactly.
enum Text {
  /// A share in percent with one decimal: "12.3 %".
  static func percent(_ value: Double?) -> String { percent(value, places: 1) }

  /// A share in percent with so many decimals.
  static func percent(_ value: Double?, places: Int) -> String {
    value.map { fixed(100 * $0, places) + " %" } ?? "–"
  }

  /// A difference of shares in percentage points, with its sign: "+1.2", "−0.3".
  static func points(_ value: Double?) -> String { signed(value) { fixed(100 * $0, 1) } }

  /// A number with its sign, a plus before it too unless it is shown as 0.
  static func signed(_ value: Double?, _ text: (Double) -> String) -> String {
    guard let value, value.isFinite else { return "–" }
    let shown = text(value)
    return value > 0 && shown.contains { ("1"..."9").contains($0) } ? "+" + shown : shown
  }

  /// A p value: "0.043", "< 0.0001".
  static func probability(_ value: Double?) -> String {
    guard let value, value.isFinite else { return "–" }
    if value < 0.0001 { return "< 0.0001" }
    return fixed(value, value < 0.01 ? 4 : 3)
  }

  /// A number with `digits` decimals; "–" when unknown. A minus sign never stands before a zero.
  static func fixed(_ value: Double?, _ digits: Int) -> String {
    guard let value, value.isFinite else { return "–" }
    let scale = pow(10, Double(digits))
    let scaled = (abs(value) * scale).rounded()
    guard scaled < 1e15 else { return value.description }
    let whole = String(Int(scaled))
    let padded = String(repeating: "0", count: max(0, digits + 1 - whole.count)) + whole
    let sign = value < 0 && scaled > 0 ? "−" : ""
    guard digits > 0 else { return sign + padded }
    return sign + padded.dropLast(digits) + "." + padded.suffix(digits)
  }

  /// About three figures: "0.00412", "1.58", "157".
  static func short(_ value: Double?) -> String {
    guard let value, value.isFinite else { return "–" }
    if value == 0 { return "0" }
    let exponent = Int(floor(log10(abs(value))))
    if exponent < -5 || exponent > 8 {
      return fixed(value / pow(10, Double(exponent)), 1) + "e\(exponent)"
    }
    return fixed(value, max(0, 2 - exponent))
  }

  /// A ratio: "×1.58".
  static func times(_ value: Double?) -> String {
    value.map { "×" + short($0) } ?? "–"
  }

  /// "n samples", with the right ending.
  static func count(_ count: Int, _ noun: String) -> String {
    "\(count) \(noun)" + (count == 1 ? "" : "s")
  }
}
