public import Foundation

/// A process of a program that runs beside this one and is looked at now and then.
///
/// It has a process group of its own, so that an interrupt typed at the terminal reaches only this process, which passes
/// it on. What it prints is dropped, its messages go to a file. One that nobody holds any more is killed.
public final class ChildProcess {
  /// The number of the process.
  public let identifier: Int32
  /// How it ended; nil while it runs, or before anybody asked.
  public private(set) var ending: Subprocess.Ending?

  /// Starts a program with the variables of this process, those that plan faults left out.
  ///
  /// - Parameters:
  ///   - program: The path of the program.
  ///   - messages: The file for what it writes to standard error.
  /// - Throws: `FileError` if the program cannot be started.
  public init(_ program: String, _ arguments: [String], messages: URL) throws(FileError) {
    let environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("MMPROBE_FAULT_") }
    identifier = try Subprocess.spawn(
      program, arguments, environment: environment.map { $0.key + "=" + $0.value }.sorted(),
      input: .nothing, output: .nothing, messages: .file(messages.path))
  }

  deinit {
    if ending == nil {
      kill()
      _ = Subprocess.wait(for: identifier)
    }
  }

  /// Looks whether the process has ended.
  ///
  /// - Returns: How; nil while it runs.
  public func poll() -> Subprocess.Ending? {
    if ending != nil { return ending }
    var status: Int32 = 0
    let found = unsafe waitpid(identifier, &status, WNOHANG)
    if found == 0 || (found < 0 && errno == EINTR) { return nil }
    ending = found < 0 ? .exited(-1) : Subprocess.ending(of: status)
    return ending
  }

  /// Its memory now; zeros where the system does not publish it.
  public var memory: ProcessMemory { ProcessMemory(process: "\(identifier)") }

  /// Asks the process to save and end.
  public func stop() { if ending == nil { Foundation.kill(identifier, SIGTERM) } }

  /// Ends the process at once.
  public func kill() { if ending == nil { Foundation.kill(identifier, SIGKILL) } }
}
