public import Foundation

/// Moments as text.
public enum Timestamp {
  /// A moment in UTC to the second, such as `2026-11-21T09:46:52Z`.
  ///
  /// Source: Klyne and Newman, "Date and Time on the Internet: Timestamps", RFC 3339, 2002.
  public static func text(of date: Date) -> String {
    let seconds = Int(date.timeIntervalSince1970.rounded(.down))
    var days = seconds / 86_400
    var second = seconds % 86_400
    if second < 0 { (days, second) = (days - 1, second + 86_400) }
    let (year, month, day) = civilDate(daysSince1970: days)
    let date = "\(Decimals.padded(year, 4))-\(Decimals.padded(month, 2))-\(Decimals.padded(day, 2))"
    return
      "\(date)T\(Decimals.padded(second / 3600, 2)):\(Decimals.padded(second / 60 % 60, 2)):\(Decimals.padded(second % 60, 2))Z"
  }

  /// Year, month and day in the Gregorian calendar, found by counting from the year 0 in years that begin in
  /// March, so that the leap day is the last.
  private static func civilDate(daysSince1970: Int) -> (year: Int, month: Int, day: Int) {
    let days = daysSince1970 + 719_468
    let era = (days >= 0 ? days : days - 146_096) / 146_097
    let dayOfEra = days - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * marchMonth + 2) / 5 + 1
    let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
  }
}
