import XCTest

@testable import RunKit

final class ProgressReporterTests: XCTestCase {
  /// What a reporter shows while its clock is moved.
  private final class Screen {
    var text = ""
    var seconds = 0.0

    func reporter(
      total: Int, alreadyDone: Int = 0, isTerminal: Bool, columns: Int = 100
    ) -> ProgressReporter {
      ProgressReporter(
        total: total, alreadyDone: alreadyDone, isTerminal: isTerminal, columns: columns,
        clock: { self.seconds }, memory: { 5_100_000_000 }, sink: { self.text += $0 })
    }

    func take() -> String {
      defer { text = "" }
      return text
    }
  }

  func testATerminalLineHasBarSpeedAndTimeLeft() {
    let screen = Screen()
    var reporter = screen.reporter(total: 1000, isTerminal: true)
    screen.seconds = 312 * 1.92
    reporter.update(done: 312, skipped: 2)
    XCTAssertEqual(
      screen.take(),
      "\r[=========>                    ] 312/1000  31%  1.92 s/sample  ETA 22:01  rss 5.1 GB  skipped 2\u{1B}[K"
    )
    screen.seconds += 0.05
    reporter.update(done: 313)
    XCTAssertEqual(screen.take(), "")
    reporter.note("warning: w")
    XCTAssertEqual(screen.take(), "\r\u{1B}[Kwarning: w\n")
    reporter.finish(done: 1000)
    XCTAssertEqual(
      screen.take(),
      "\r[==============================] 1000/1000  100%  0.599 s/sample  rss 5.1 GB\u{1B}[K\n")
  }

  func testALineNeverFillsTheTerminal() {
    let screen = Screen()
    for columns in 0...120 {
      var reporter = screen.reporter(total: 1000, isTerminal: true, columns: columns)
      screen.seconds += 10
      reporter.update(done: 312, skipped: 2)
      let line = screen.take().dropFirst().dropLast(3)
      XCTAssertLessThanOrEqual(line.count, max(0, columns - 1), "\(columns) columns")
    }
  }

  func testPlainLinesComeEveryTenSecondsOrFivePercent() {
    let screen = Screen()
    var reporter = screen.reporter(total: 1000, isTerminal: false)
    reporter.update(done: 1)
    screen.seconds = 9.9
    reporter.update(done: 49)
    XCTAssertEqual(screen.take(), "")
    reporter.update(done: 50)
    XCTAssertEqual(screen.take(), "50/1000  5%  0.198 s/sample  ETA 03:08  rss 5.1 GB\n")
    screen.seconds = 20.4
    reporter.update(done: 51)
    XCTAssertEqual(screen.take(), "51/1000  5%  0.400 s/sample  ETA 06:20  rss 5.1 GB\n")
    reporter.finish(done: 1000)
    XCTAssertTrue(screen.take().hasPrefix("1000/1000  100%"))
    reporter.finish(done: 1000)
    XCTAssertEqual(screen.take(), "", "the last line is not repeated")
  }

  func testAResumedRunCountsOnlyItsOwnSpeed() {
    let screen = Screen()
    var reporter = screen.reporter(total: 200, alreadyDone: 137, isTerminal: false)
    screen.seconds = 20
    reporter.update(done: 147)
    XCTAssertEqual(screen.take(), "147/200  73%  2.00 s/sample  ETA 01:46  rss 5.1 GB\n")
  }

  func testNothingToDoIsNoDivisionByZero() {
    let screen = Screen()
    var reporter = screen.reporter(total: 0, isTerminal: true, columns: 80)
    reporter.finish(done: 0)
    XCTAssertEqual(screen.take(), "\r[==============================] 0/0  rss 5.1 GB\u{1B}[K\n")
  }

  func testNumbersKeepThreeDigits() {
    let texts = [
      1234.0: "1234", 100: "100", 99.94: "99.9", 9.999: "10.00", 1: "1.00", 0.0123: "0.0123", 0: "0.0000",
    ]
    for (value, text) in texts { XCTAssertEqual(ProgressReporter.significant(value), text) }
    XCTAssertEqual(ProgressReporter.duration(59.6), "01:00")
    XCTAssertEqual(ProgressReporter.duration(3723), "1:02:03")
    XCTAssertEqual(ProgressReporter.duration(176_400), "2 d 01:00:00")
    XCTAssertEqual(ProgressReporter.duration(.infinity), "11574074 d 01:46:40")
  }
}
