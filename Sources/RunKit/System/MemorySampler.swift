import Dispatch
import Synchronization

/// Watches the memory that belongs to no file (RssAnon) and keeps its peak.
public final class MemorySampler {
  private let peak: Peak
  private let timer: any DispatchSourceTimer

  /// Bytes when watching began.
  public let start: Int

  /// Begins to watch.
  ///
  /// - Parameter milliseconds: Time between two looks.
  public init(everyMilliseconds milliseconds: Int = 20) {
    start = ProcessMemory.current.anonymous
    let peak = Peak(start)
    self.peak = peak
    timer = DispatchSource.makeTimerSource(
      queue: DispatchQueue(label: "mmprobe.memory", qos: .userInteractive))
    timer.schedule(deadline: .now(), repeating: .milliseconds(milliseconds))
    timer.setEventHandler { peak.look() }
    timer.resume()
  }

  /// Ends watching.
  ///
  /// - Returns: The most bytes seen above those at the start.
  public func stop() -> Int {
    timer.cancel()
    peak.look()
    return peak.bytes - start
  }

  private final class Peak: Sendable {
    private let value: Mutex<Int>

    init(_ bytes: Int) { value = Mutex(bytes) }

    var bytes: Int { value.withLock { $0 } }

    func look() {
      let now = ProcessMemory.current.anonymous
      value.withLock { $0 = max($0, now) }
    }
  }
}
