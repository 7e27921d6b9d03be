/// Numbers with a fixed count of decimal places.
public enum Decimals {
  /// The number rounded to `places` decimal places, halves away from zero; "nan" or "inf" if it is not finite.
  ///
  /// - Parameter places: 0 to 15.
  public static func text(_ value: Double, places: Int) -> String {
    precondition(0...15 ~= places, "\(places) decimal places")
    var scale = 1.0
    for _ in 0..<places { scale *= 10 }
    let scaled = (abs(value) * scale).rounded()
    // Beyond 2⁵³ there are no decimal places left to round.
    guard scaled < 0x1p53 else { return value.description }
    let digits = padded(Int(scaled), places + 1)
    let sign = value < 0 && scaled > 0 ? "-" : ""
    return sign + digits.dropLast(places) + (places > 0 ? "." + digits.suffix(places) : "")
  }

  /// The number with zeros in front up to `width` digits; for numbers that are not negative.
  static func padded(_ number: Int, _ width: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }
}

/// Amounts of memory.
public enum ByteCount {
  /// The amount in the largest unit that keeps it above 1, with one decimal place: `5.1 GB`, decimal units.
  public static func text(_ bytes: Int) -> String {
    var (value, unit) = (Double(bytes), "B")
    for larger in ["kB", "MB", "GB", "TB"] where value >= 1000 {
      (value, unit) = (value / 1000, larger)
    }
    return unit == "B" ? "\(bytes) B" : "\(Decimals.text(value, places: 1)) \(unit)"
  }
}
