import Glibc
import Synchronization

/// Keeps freed buffers of at least 1 MiB for the next tensors.
///
/// A forward pass frees and makes buffers of the same few sizes again and again; without the pool each would be taken
/// from the system page by page. Freed neighbours join and a request takes the smallest free range that holds it, so a
/// large buffer can serve several small ones and the other way round. Kept memory gives way as soon as it would raise
/// the total above what was in use at some moment before, so that it never adds to the peak.
final class BufferPool: Sendable {
  static let shared = BufferPool()
  private static let smallest = 1 << 20

  private struct State: ~Copyable {
    var free = FreeRanges()
    var usedBytes = 0
    var largestUse = 0
  }
  private let state = Mutex(State())

  /// A buffer of at least `floats` elements and its true size in bytes.
  func take(floats: Int) -> (UnsafeMutablePointer<Float>, Int) {
    let byteCount = Self.roundedSize(max(floats, 1) * MemoryLayout<Float>.stride)
    guard byteCount >= Self.smallest else {
      let raw = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 64)
      return unsafe (
        raw.bindMemory(to: Float.self, capacity: byteCount / MemoryLayout<Float>.stride), byteCount
      )
    }
    let (kept, evicted) = state.withLock { state -> (UInt?, [FreeRanges.Part]) in
      state.usedBytes += byteCount
      if let address = state.free.take(byteCount) { return (address, []) }
      state.largestUse = max(state.largestUse, state.usedBytes)
      return (nil, state.free.evict(down: state.largestUse - state.usedBytes))
    }
    for part in evicted { Self.unmap(part) }
    if let kept, let pointer = unsafe UnsafeMutablePointer<Float>(bitPattern: kept) {
      return unsafe (pointer, byteCount)
    }
    return unsafe (Self.map(byteCount), byteCount)
  }

  /// Takes a buffer back that `take` gave.
  func give(back pointer: UnsafeMutablePointer<Float>, byteCount: Int) {
    guard byteCount >= Self.smallest else {
      unsafe UnsafeMutableRawPointer(pointer).deallocate()
      return
    }
    let part = FreeRanges.Part(start: UInt(bitPattern: pointer), byteCount: byteCount)
    state.withLock { state in
      state.usedBytes -= byteCount
      state.free.insert(part)
    }
  }

  /// Returns everything that is kept to the system.
  func drain() {
    let parts = state.withLock { state in
      state.largestUse = state.usedBytes
      return state.free.evict(down: 0)
    }
    for part in parts { Self.unmap(part) }
  }

  /// Whole pages, and from 1 MiB on a multiple of a sixteenth of the power of two below, so that ranges stay few.
  private static func roundedSize(_ bytes: Int) -> Int {
    guard bytes >= smallest else { return (bytes + 63) / 64 * 64 }
    let step = max(1 << (Int.bitWidth - bytes.leadingZeroBitCount - 5), 1 << 16)
    return (bytes + step - 1) / step * step
  }

  // Straight from the system: the allocator would keep large buffers on its heap in between, where they can neither be
  // given back nor always reused.
  private static func map(_ byteCount: Int) -> UnsafeMutablePointer<Float> {
    guard let raw = unsafe mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    else {
      preconditionFailure("mmap gives an address")
    }
    unsafe require(raw != MAP_FAILED, "the system has no \(byteCount) bytes of memory left")
    return unsafe raw.bindMemory(to: Float.self, capacity: byteCount / MemoryLayout<Float>.stride)
  }

  // Any whole pages may be given back, whatever mappings they came from.
  private static func unmap(_ part: FreeRanges.Part) {
    unsafe _ = munmap(UnsafeMutableRawPointer(bitPattern: part.start), part.byteCount)
  }
}

/// Free memory as ranges of addresses that do not touch, in order. There are few: buffers are large.
struct FreeRanges {
  /// Some free bytes.
  struct Part: Equatable {
    var start: UInt
    var byteCount: Int
    var end: UInt { start + UInt(byteCount) }
  }

  private(set) var parts: [Part] = []
  /// Bytes of all parts.
  private(set) var byteCount = 0

  /// Adds a part, joined with those it touches.
  mutating func insert(_ part: Part) {
    byteCount += part.byteCount
    var (low, high) = (0, parts.count)
    while low < high {
      let middle = (low + high) / 2
      if parts[middle].start < part.start { low = middle + 1 } else { high = middle }
    }
    let joinsBefore = low > 0 && parts[low - 1].end == part.start
    let joinsAfter = low < parts.count && part.end == parts[low].start
    switch (joinsBefore, joinsAfter) {
    case (true, true):
      parts[low - 1].byteCount += part.byteCount + parts[low].byteCount
      parts.remove(at: low)
    case (true, false): parts[low - 1].byteCount += part.byteCount
    case (false, true): parts[low] = Part(start: part.start, byteCount: part.byteCount + parts[low].byteCount)
    case (false, false): parts.insert(part, at: low)
    }
  }

  /// Takes bytes from the smallest part that has as many; nil if there is none.
  mutating func take(_ count: Int) -> UInt? {
    var best: Int?
    for (index, part) in parts.enumerated() where part.byteCount >= count {
      if best.map({ part.byteCount < parts[$0].byteCount }) ?? true { best = index }
    }
    guard let best else { return nil }
    let start = parts[best].start
    byteCount -= count
    if parts[best].byteCount == count {
      parts.remove(at: best)
    } else {
      parts[best] = Part(start: start + UInt(count), byteCount: parts[best].byteCount - count)
    }
    return start
  }

  /// Removes memory until at most `limit` bytes are left: the smallest parts first, the last of them in part.
  mutating func evict(down limit: Int) -> [Part] {
    var evicted: [Part] = []
    while byteCount > limit, let index = parts.indices.min(by: { parts[$0].byteCount < parts[$1].byteCount })
    {
      let surplus = byteCount - limit
      if parts[index].byteCount <= surplus {
        evicted.append(parts.remove(at: index))
        byteCount -= evicted[evicted.count - 1].byteCount
      } else {
        let removed = Part(start: parts[index].start, byteCount: surplus)
        parts[index] = Part(start: removed.end, byteCount: parts[index].byteCount - surplus)
        byteCount -= surplus
        evicted.append(removed)
      }
    }
    return evicted
  }
}
