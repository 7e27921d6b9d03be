import Dispatch
import Synchronization

/// Watches the memory that belongs to no file (RssAnon) and keeps its peak.
public final class MemorySampler: Sendable {
  private let peak: Mutex<Int>
  private let timer: any DispatchSourceTimer

  /// Bytes when watching began.
  public let start: Int

  /// Begins to watch.
  ///
  /// - Parameter milliseconds: Time between two looks.
  public init(everyMilliseconds milliseconds: Int = 20) {
    start = ProcessMemory.current.anonymous
    peak = Mutex(start)
    timer = DispatchSource.makeTimerSource(queue: DispatchQueue(label: "mmprobe.memory", qos: .userInteractive))
    timer.schedule(deadline: .now(), repeating: .milliseconds(milliseconds))
    timer.setEventHandler { [weak self] in self?.look() }
    timer.resume()
  }

  private func look() {
    let now = ProcessMemory.current.anonymous
    peak.withLock { $0 = max($0, now) }
  }

  /// Ends watching.
  ///
  /// - Returns: The most bytes seen above those at the start.
  public func stop() -> Int {
    timer.cancel()
    look()
    return peak.withLock { $0 } - start
  }
}
