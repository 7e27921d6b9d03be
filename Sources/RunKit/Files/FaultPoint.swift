import Foundation
import Synchronization

/// Named places before every write, sync and rename where a test can stop or fail the program.
///
/// Read once from the environment; when no variable is set a point costs one comparison.
///
/// | variable | effect |
/// | --- | --- |
/// | `MMPROBE_FAULT_KILL=k` | the process kills itself (SIGKILL) at the k-th point reached, from 1 |
/// | `MMPROBE_FAULT_TORN=1` | if that point is a write, half of its bytes are written first |
/// | `MMPROBE_FAULT_FAIL=k:ENOSPC` | the k-th point throws as if the disk were full (or `EIO`, `EROFS`) |
/// | `MMPROBE_FAULT_COUNT=path` | `writeCount()` writes there how many points were reached |
public enum FaultPoint {
  /// What is to happen at a point.
  enum Fate: Equatable {
    case pass
    case kill(tears: Bool)
    case fail(errorNumber: Int32)
  }

  private static let environmentPlan = FaultPlan(environment: ProcessInfo.processInfo.environment)

  /// A plan for the code called inside `$testPlan.withValue`, in place of the environment's.
  @TaskLocal static var testPlan: FaultPlan?

  private static var plan: FaultPlan? { testPlan ?? environmentPlan }

  /// Passes a point that stands before a step on a file.
  ///
  /// - Throws: The `FileError` of that step if the plan says so. A planned kill does not return.
  static func reach(_ operation: FileError.Operation, path: String) throws(FileError) {
    switch next() {
    case .pass: break
    case .fail(let number): throw FileError(failing: operation, path: path, errorNumber: number)
    case .kill: killProcess()
    }
  }

  /// Passes a point of a caller that writes without RunKit's files.
  ///
  /// - Parameter path: The file about to be changed, for the error.
  /// - Throws: `FileError` if the plan says so. A planned kill does not return.
  public static func reach(path: String) throws(FileError) {
    try reach(.write, path: path)
  }

  /// Counts a point and says what is to happen there.
  static func next() -> Fate { plan?.next() ?? .pass }

  /// Ends the process as `kill -9` would.
  static func killProcess() -> Never { ProcessFacts.killSelf() }

  /// Writes the number of points reached to the file `MMPROBE_FAULT_COUNT` names, if it is set.
  ///
  /// To be called once, last, by the command line; it passes no point itself.
  public static func writeCount() {
    guard let plan, let path = plan.countPath else { return }
    // A test that finds no file sees the failure there.
    try? Data("\(plan.reached)\n".utf8).write(to: URL(fileURLWithPath: path))
  }
}

/// Which point does what.
final class FaultPlan: Sendable {
  let killAt: Int?
  let tears: Bool
  let failAt: Int?
  let failNumber: Int32
  let countPath: String?
  private let count = Atomic<Int>(0)

  /// The plan of these variables, or nil if none is set. A value that cannot be read counts as not set.
  init?(environment: [String: String]) {
    killAt = environment["MMPROBE_FAULT_KILL"].flatMap { Int($0) }
    tears = environment["MMPROBE_FAULT_TORN"] == "1"
    countPath = environment["MMPROBE_FAULT_COUNT"]
    let parts = (environment["MMPROBE_FAULT_FAIL"] ?? "").split(separator: ":")
    let numbers: [Substring: Int32] = ["ENOSPC": ENOSPC, "EIO": EIO, "EROFS": EROFS]
    if parts.count == 2, let point = Int(parts[0]), let number = numbers[parts[1]] {
      failAt = point
      failNumber = number
    } else {
      failAt = nil
      failNumber = 0
    }
    if killAt == nil && failAt == nil && countPath == nil { return nil }
  }

  /// Points passed so far.
  var reached: Int { count.load(ordering: .relaxed) }

  func next() -> FaultPoint.Fate {
    let (_, now) = count.add(1, ordering: .relaxed)
    if now == killAt { return .kill(tears: tears) }
    if now == failAt { return .fail(errorNumber: failNumber) }
    return .pass
  }
}
