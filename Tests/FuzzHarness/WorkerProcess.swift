import Foundation

/// A worker behind two pipes.
final class WorkerProcess {
  private let process = Process()
  private let input = Pipe()
  private let output = Pipe()
  private var unread: [UInt8] = []
  private var isTooSlow = false

  init(arguments: [String]) throws {
    process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    process.arguments = arguments
    process.standardInput = input
    process.standardOutput = output
    try process.run()
  }

  /// Sends case numbers, which are answered in their order.
  func send(_ numbers: ArraySlice<Int>) {
    // A worker that has died is noticed when its answer is missing.
    try? input.fileHandleForWriting.write(contentsOf: Data(numbers.map { "\($0)\n" }.joined().utf8))
  }

  /// The next line of the answer; nil if the worker ended instead.
  ///
  /// A worker that needs longer than `seconds` is killed, which ends it.
  func nextLine(seconds: Int) -> String? {
    let identifier = process.processIdentifier
    let watchdog = DispatchWorkItem { kill(identifier, SIGKILL) }
    DispatchQueue.global().asyncAfter(deadline: .now() + .seconds(seconds), execute: watchdog)
    let start = DispatchTime.now().uptimeNanoseconds
    defer { watchdog.cancel() }
    while true {
      if let end = unread.firstIndex(of: 0x0A) {
        let line = String(decoding: unread[..<end], as: UTF8.self)
        unread.removeSubrange(...end)
        return line
      }
      let data = output.fileHandleForReading.availableData
      if data.isEmpty {
        isTooSlow = DispatchTime.now().uptimeNanoseconds - start >= UInt64(seconds) * 1_000_000_000
        return nil
      }
      unread += data
    }
  }

  /// Waits until the worker has ended and says how it did.
  func waitForEnd() -> String {
    process.waitUntilExit()
    if isTooSlow { return "took longer than \(FuzzDriver.limitSeconds) s" }
    let reason = process.terminationReason == .uncaughtSignal ? "signal" : "status"
    return "crashed, \(reason) \(process.terminationStatus)"
  }

  /// Lets the worker end.
  func close() {
    try? input.fileHandleForWriting.close()
    process.waitUntilExit()
  }
}
