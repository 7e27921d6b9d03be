import Foundation

/// Turns the progress of a long loop into lines for the user; prints nothing itself.
///
/// On a terminal one line is drawn again and again:
///
///     [=====>         ] 312/1000  31%  1.92 s/sample  ETA 22:01  rss 5.1 GB  skipped 2
///
/// Elsewhere plain lines follow each other, one every ten seconds or five percent.
public struct ProgressReporter {
  /// How many there are in all.
  public let total: Int
  /// What is counted, such as "sample".
  public let unit: String
  private let alreadyDone: Int
  private let isTerminal: Bool
  private let columns: Int
  private let clock: () -> Double
  private let memory: () -> Int
  private let sink: (String) -> Void
  private let startSeconds: Double
  private var lastSeconds: Double?
  private var lastDone = 0
  private var lineIsOpen = false

  private static let secondsPerRedraw = 0.1
  private static let secondsPerLine = 10.0
  private static let shareOfLine = 0.05

  /// A reporter of a loop that begins now.
  ///
  /// - Parameters:
  ///   - total: How many there are in all; at least 0.
  ///   - alreadyDone: How many an earlier run did; they do not count for the speed.
  ///   - unit: What is counted.
  ///   - isTerminal: Whether lines can be redrawn.
  ///   - columns: Width of the terminal.
  ///   - clock: Seconds from any start, never going back.
  ///   - memory: Resident bytes of the process.
  ///   - sink: Takes text to be shown as it is, line ends included.
  public init(
    total: Int, alreadyDone: Int = 0, unit: String = "sample", isTerminal: Bool, columns: Int = 80,
    clock: @escaping () -> Double = { ProcessFacts.monotonicSeconds },
    memory: @escaping () -> Int = { ProcessMemory.current.resident }, sink: @escaping (String) -> Void
  ) {
    self.total = total
    self.alreadyDone = alreadyDone
    self.unit = unit
    self.isTerminal = isTerminal
    self.columns = columns
    self.clock = clock
    self.memory = memory
    self.sink = sink
    startSeconds = clock()
    lastDone = alreadyDone
  }

  /// Reports how many are done, if it is time for another line.
  ///
  /// - Parameter detail: What else is worth a look, such as the loss; made only when a line is shown.
  public mutating func update(done: Int, skipped: Int = 0, detail: @autoclosure () -> String = "") {
    let seconds = clock()
    guard isDue(done: done, seconds: seconds) else { return }
    show(done: done, skipped: skipped, detail: detail(), seconds: seconds)
  }

  /// Reports the last state and ends the line.
  public mutating func finish(done: Int, skipped: Int = 0, detail: String = "") {
    // A plain line that says the same stands already.
    let isShown = !isTerminal && lastSeconds != nil && lastDone == done && detail.isEmpty
    if !isShown { show(done: done, skipped: skipped, detail: detail, seconds: clock()) }
    if isTerminal { sink("\n") }
    lineIsOpen = false
  }

  /// Shows a message on a line of its own, above the redrawn one.
  public mutating func note(_ message: String) {
    sink((lineIsOpen ? "\r\u{1B}[K" : "") + message + "\n")
    lineIsOpen = false
    if isTerminal { lastSeconds = nil }
  }

  private func isDue(done: Int, seconds: Double) -> Bool {
    if isTerminal { return lastSeconds.map { seconds - $0 >= Self.secondsPerRedraw } ?? true }
    if seconds - (lastSeconds ?? startSeconds) >= Self.secondsPerLine { return true }
    return total > 0 && Double(done - lastDone) >= Self.shareOfLine * Double(total)
  }

  private mutating func show(done: Int, skipped: Int, detail: String, seconds: Double) {
    lastSeconds = seconds
    lastDone = done
    let facts = facts(done: done, skipped: skipped, seconds: seconds)
    let text = detail.isEmpty ? facts : facts + "  " + detail
    if isTerminal {
      sink("\r" + line(done: done, text: text) + "\u{1B}[K")
      lineIsOpen = true
    } else {
      sink(text + "\n")
    }
  }

  private func facts(done: Int, skipped: Int, seconds: Double) -> String {
    var parts = ["\(done)/\(total)"]
    if total > 0 { parts.append("\(Int((100 * Double(done) / Double(total)).rounded(.down)))%") }
    let newlyDone = done - alreadyDone
    if newlyDone > 0 {
      let secondsEach = max(0, seconds - startSeconds) / Double(newlyDone)
      parts.append("\(Self.significant(secondsEach)) s/\(unit)")
      if done < total { parts.append("ETA \(Self.duration(secondsEach * Double(total - done)))") }
    }
    parts.append("rss \(ByteCount.text(memory()))")
    if skipped > 0 { parts.append("skipped \(skipped)") }
    return parts.joined(separator: "  ")
  }

  /// The facts behind a bar as wide as the terminal leaves, cut to its width.
  private func line(done: Int, text: String) -> String {
    // The last column stays free: many terminals begin a new line when it is filled.
    let space = columns - 1
    let barWidth = min(30, space - text.count - 3)
    guard barWidth >= 5 else { return String(text.prefix(max(0, space))) }
    let share = total > 0 ? min(1, max(0, Double(done) / Double(total))) : 1
    let filled = Int(share * Double(barWidth))
    let head = filled < barWidth ? ">" : ""
    let bar = String(repeating: "=", count: filled) + head
    return "[" + bar + String(repeating: " ", count: barWidth - bar.count) + "] " + text
  }

  /// Three significant digits, without an exponent.
  static func significant(_ value: Double) -> String {
    if value >= 100 { return String(Int(min(value, 1e15).rounded())) }
    var digits = 2
    var bound = 10.0
    while value < bound, digits < 4 {
      if value >= bound / 10 { break }
      bound /= 10
      digits += 1
    }
    return Decimals.text(value, places: value >= 10 ? 1 : digits)
  }

  /// Minutes and seconds, with hours and days if there are any: `22:01`, `1:02:03`, `2 d 01:00:00`.
  static func duration(_ seconds: Double) -> String {
    let whole = Int(min(max(0, seconds), 1e12).rounded())
    let (days, hours) = (whole / 86_400, whole / 3600 % 24)
    let tail = "\(Decimals.padded(whole / 60 % 60, 2)):\(Decimals.padded(whole % 60, 2))"
    if days > 0 { return "\(days) d \(Decimals.padded(hours, 2)):\(tail)" }
    return hours > 0 ? "\(hours):\(tail)" : tail
  }
}
