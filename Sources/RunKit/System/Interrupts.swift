import Foundation
import Synchronization

/// Polite stopping: the first SIGINT or SIGTERM asks, the second ends the process with status 130.
///
/// Long loops poll `isRequested` between samples, save, and end with `ExitStatus.stopped`.
public enum Interrupts {
  private static let signalCount = Atomic<Int>(0)

  private static let parent = Atomic<Int32>(0)

  /// Whether the user asked the process to stop, or the process that it follows is gone.
  public static var isRequested: Bool {
    if signalCount.load(ordering: .relaxed) > 0 { return true }
    let followed = parent.load(ordering: .relaxed)
    return followed != 0 && getppid() != followed
  }

  /// Makes the end of the process that started this one a request to stop: one of many that work for another must not go
  /// on when that was killed.
  public static func followParent() { parent.store(getppid(), ordering: .relaxed) }

  /// Starts listening. A signal that was being ignored, as under `nohup`, stays ignored.
  ///
  /// Also makes a write past a file-size limit an error (`FileError`) instead of the end of the process.
  public static func install() {
    // The first use of the counter would set it up, which a signal handler must not do.
    _ = signalCount.load(ordering: .relaxed)
    for number in [SIGINT, SIGTERM] {
      var old = sigaction()
      guard unsafe sigaction(number, nil, &old) == 0 else { continue }
      let ignored = unsafe unsafeBitCast(old.__sigaction_handler.sa_handler, to: Int.self) == 1
      if ignored { continue }
      var action = sigaction()
      unsafe action.__sigaction_handler.sa_handler = { _ in Interrupts.receive() }
      action.sa_flags = SA_RESTART
      unsafe _ = sigaction(number, &action, nil)
    }
    _ = signal(SIGXFSZ, SIG_IGN)
  }

  /// What the handler does; only an atomic addition and `_exit`, both safe inside a signal.
  static func receive() {
    let (before, _) = signalCount.add(1, ordering: .relaxed)
    if before > 0 { _exit(ExitStatus.interrupted.rawValue) }
  }
}
