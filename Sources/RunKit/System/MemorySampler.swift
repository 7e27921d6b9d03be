import Dispatch
import Synchronization

/// Watches the memory of this process and keeps the peaks.
public final class MemorySampler {
  private let peak: Peak
  private let timer: any DispatchSourceTimer

  /// What has been seen.
  public struct Peaks: Sendable, Equatable {
    /// The most bytes that belong to no file (RssAnon).
    public let anonymous: Int
    /// The same above what they were when watching began.
    public let growth: Int
    /// The most bytes in memory, mapped files included (VmRSS).
    public let resident: Int
  }

  /// Begins to watch.
  ///
  /// - Parameter milliseconds: Time between two looks.
  public init(everyMilliseconds milliseconds: Int = 20) {
    let memory = ProcessMemory.current
    let peak = Peak(memory)
    self.peak = peak
    timer = DispatchSource.makeTimerSource(
      queue: DispatchQueue(label: "mmprobe.memory", qos: .userInteractive))
    timer.schedule(deadline: .now(), repeating: .milliseconds(milliseconds))
    timer.setEventHandler { peak.look() }
    timer.resume()
  }

  /// Ends watching.
  public func stop() -> Peaks {
    timer.cancel()
    return peak.look()
  }

  private final class Peak: Sendable {
    private let start: Int
    private let value: Mutex<(anonymous: Int, resident: Int)>

    init(_ memory: ProcessMemory) {
      start = memory.anonymous
      value = Mutex((memory.anonymous, memory.resident))
    }

    @discardableResult
    func look() -> Peaks {
      let now = ProcessMemory.current
      return value.withLock { peaks in
        peaks = (max(peaks.anonymous, now.anonymous), max(peaks.resident, now.resident))
        return Peaks(
          anonymous: peaks.anonymous, growth: peaks.anonymous - start, resident: peaks.resident)
      }
    }
  }
}
