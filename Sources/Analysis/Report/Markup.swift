/// HTML or SVG text in which every interpolated string has been escaped.
///
/// A literal is markup; a `String` put into it is data and can never become markup. Only another `Markup` goes in
/// as it is. So no text of a data set, a tokenizer or a file name can change the page.
package struct Markup: ExpressibleByStringInterpolation, Sendable {
  package private(set) var text: String

  package init() { text = "" }
  package init(stringLiteral value: String) { text = value }
  package init(stringInterpolation: StringInterpolation) { text = stringInterpolation.text }

  /// Builds markup from literals and escaped values.
  package struct StringInterpolation: StringInterpolationProtocol {
    fileprivate var text = ""

    package init(literalCapacity: Int, interpolationCount: Int) { text.reserveCapacity(literalCapacity) }
    package mutating func appendLiteral(_ literal: String) { text += literal }
    package mutating func appendInterpolation(_ string: String) { text += Markup.escape(string) }
    package mutating func appendInterpolation(_ integer: Int) { text += String(integer) }
    package mutating func appendInterpolation(_ markup: Markup) { text += markup.text }
    package mutating func appendInterpolation(_ parts: [Markup]) { for part in parts { text += part.text } }
    /// A fraction as a CSS percentage: 0.25 is "25%".
    package mutating func appendInterpolation(percent fraction: Double) {
      text += Markup.decimal(100 * fraction) + "%"
    }
    /// A coordinate.
    package mutating func appendInterpolation(_ coordinate: Double) { text += Markup.decimal(coordinate) }
  }

  /// The text with everything that has a meaning in HTML written as a reference.
  package static func escape(_ string: String) -> String {
    var escaped = ""
    escaped.reserveCapacity(string.utf8.count)
    for scalar in string.unicodeScalars {
      switch scalar {
      case "&": escaped += "&amp;"
      case "<": escaped += "&lt;"
      case ">": escaped += "&gt;"
      case "\"": escaped += "&quot;"
      case "'": escaped += "&#39;"
      case "\n", "\t": escaped.unicodeScalars.append(scalar)
      // Control characters are not allowed in HTML, not even as references; directional marks could turn
      // the text around them.
      case _ where scalar.value < 0x20 || (0x7F..<0xA0).contains(scalar.value): escaped += "\u{FFFD}"
      case "\u{202A}"..."\u{202E}", "\u{2066}"..."\u{2069}": escaped += "\u{FFFD}"
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }

  /// A number with at most two decimals, for coordinates; 0 where it is not finite.
  package static func decimal(_ value: Double) -> String {
    guard value.isFinite, abs(value) < 1e12 else { return "0" }
    let hundredths = Int((value * 100).rounded())
    let sign = hundredths < 0 ? "-" : ""
    let (whole, rest) = abs(hundredths).quotientAndRemainder(dividingBy: 100)
    if rest == 0 { return "\(sign)\(whole)" }
    return rest % 10 == 0 ? "\(sign)\(whole).\(rest / 10)" : "\(sign)\(whole).\(rest < 10 ? "0" : "")\(rest)"
  }

  package static func + (left: Markup, right: Markup) -> Markup {
    var sum = left
    sum.text += right.text
    return sum
  }

  package static func += (left: inout Markup, right: Markup) { left.text += right.text }
}

extension Sequence<Markup> {
  /// The parts one after the other.
  package func joined() -> Markup { reduce(into: Markup()) { $0 += $1 } }
}
