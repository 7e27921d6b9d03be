import Foundation

/// Memory of this process in bytes, as the kernel counts it.
public struct ProcessMemory: Sendable, Equatable {
  /// Pages in memory now, of any kind.
  public let resident: Int
  /// The most pages that were ever in memory.
  public let peakResident: Int
  /// Pages in memory now that belong to no file: what the program itself allocated.
  public let anonymous: Int

  /// The figures of this moment; zeros where the system does not publish them.
  public static var current: ProcessMemory { ProcessMemory(process: "self") }

  /// The figures of another process, by its number.
  init(process: String) {
    let url = URL(fileURLWithPath: "/proc/\(process)/status")
    let bytes = (try? FileReader.bytes(of: url, limit: 1 << 20)) ?? []
    self.init(status: String(decoding: bytes, as: UTF8.self))
  }

  /// Reads the figures from the text of a `/proc/<pid>/status` file.
  init(status: String) {
    func bytes(_ key: String) -> Int {
      for line in status.split(separator: "\n") where line.hasPrefix(key + ":") {
        let digits = line.dropFirst(key.count + 1).drop { $0 == " " || $0 == "\t" }.prefix { $0.isNumber }
        let (product, overflows) = (Int(digits) ?? 0).multipliedReportingOverflow(by: 1024)
        return overflows ? 0 : product
      }
      return 0
    }
    resident = bytes("VmRSS")
    peakResident = bytes("VmHWM")
    anonymous = bytes("RssAnon")
  }
}

/// What this process can say about itself and its surroundings.
public enum ProcessFacts {
  /// The number of this process.
  public static var identifier: Int32 { getpid() }

  /// The path of the program that this process runs.
  public static var program: String {
    FileSystem.resolvingLinks(in: "/proc/self/exe") ?? Bundle.main.executablePath ?? CommandLine.arguments[0]
  }

  /// The name of this machine, or "unknown".
  public static var host: String {
    var buffer = [CChar](repeating: 0, count: 256)
    let result = unsafe gethostname(&buffer, buffer.count - 1)
    let bytes = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    let name = String(decoding: bytes, as: UTF8.self)
    return result == 0 && !name.isEmpty ? name : "unknown"
  }

  /// Seconds of processor time used so far, by all threads.
  public static var processorSeconds: Double {
    var time = timespec()
    guard unsafe clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0 else { return 0 }
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }

  /// Seconds on a clock that only goes forward; its zero means nothing.
  public static var monotonicSeconds: Double {
    var time = timespec()
    guard unsafe clock_gettime(CLOCK_MONOTONIC, &time) == 0 else { return 0 }
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }

  /// Whether standard output goes to a terminal.
  public static var standardOutputIsTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

  /// Whether standard error goes to a terminal.
  public static var standardErrorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }

  /// Columns of the terminal behind standard error, or nil if it is none.
  public static var terminalColumns: Int? {
    var size = winsize()
    guard unsafe ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
    return Int(size.ws_col)
  }

  /// Ends this process at once, as the kernel would, with nothing flushed or cleaned up.
  static func killSelf() -> Never {
    kill(getpid(), SIGKILL)
    // The signal is delivered before `kill` returns; this line only tells the compiler so.
    while true { pause() }
  }
}
