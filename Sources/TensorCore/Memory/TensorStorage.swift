import Glibc
import Synchronization

/// The elements of a tensor: one 64-byte aligned buffer, returned to the pool when nobody refers to it any more.
///
/// `@unchecked Sendable`: kernels write a storage only between its creation and its first use by anyone else; after
/// that it is read only.
@safe final class TensorStorage: @unchecked Sendable {
  let pointer: UnsafeMutablePointer<Float>
  let count: Int
  private let byteCount: Int

  /// A buffer of `count` elements with undefined contents.
  init(uninitialized count: Int) {
    require(count >= 0, "a tensor of \(count) elements")
    self.count = count
    (unsafe pointer, byteCount) = unsafe BufferPool.shared.take(floats: count)
  }

  /// A buffer of `count` zeros.
  convenience init(zeros count: Int) {
    self.init(uninitialized: count)
    unsafe pointer.update(repeating: 0, count: count)
  }

  deinit {
    unsafe BufferPool.shared.give(back: pointer, byteCount: byteCount)
  }
}

/// Keeps freed buffers of at least 1 MiB for the next tensor of the same size class.
///
/// A forward pass frees and makes buffers of the same few sizes again and again; without the pool each would be taken
/// from the system page by page. Kept buffers give way as soon as they would raise memory above what was in use at some
/// moment before, so that they never add to the peak.
final class BufferPool: Sendable {
  static let shared = BufferPool()
  private static let smallest = 1 << 20

  private struct State: ~Copyable {
    var free: [Int: [UInt]] = [:]
    var keptBytes = 0
    var usedBytes = 0
    var largestUse = 0
  }
  private let state = Mutex(State())

  /// A buffer of at least `floats` elements and its true size in bytes.
  func take(floats: Int) -> (UnsafeMutablePointer<Float>, Int) {
    let byteCount = Self.sizeClass(max(floats, 1) * MemoryLayout<Float>.stride)
    guard byteCount >= Self.smallest else {
      let raw = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 64)
      return unsafe (
        raw.bindMemory(to: Float.self, capacity: byteCount / MemoryLayout<Float>.stride), byteCount
      )
    }
    let (kept, evicted) = state.withLock { state -> (UInt?, [(address: UInt, byteCount: Int)]) in
      state.usedBytes += byteCount
      if let address = state.free[byteCount]?.popLast() {
        state.keptBytes -= byteCount
        return (address, [])
      }
      state.largestUse = max(state.largestUse, state.usedBytes)
      var evicted: [(UInt, Int)] = []
      while state.usedBytes + state.keptBytes > state.largestUse,
        let largest = state.free.keys.filter({ state.free[$0]?.isEmpty == false }).max(),
        let address = state.free[largest]?.popLast()
      {
        state.keptBytes -= largest
        evicted.append((address, largest))
      }
      return (nil, evicted)
    }
    for (address, byteCount) in evicted { Self.unmap(address, byteCount) }
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
    let address = UInt(bitPattern: pointer)
    state.withLock { state in
      state.usedBytes -= byteCount
      state.keptBytes += byteCount
      state.free[byteCount, default: []].append(address)
    }
  }

  /// Returns everything that is kept to the system.
  func drain() {
    let free = state.withLock { state -> [Int: [UInt]] in
      let free = state.free
      state.free = [:]
      state.keptBytes = 0
      state.largestUse = state.usedBytes
      return free
    }
    for (byteCount, addresses) in free {
      for address in addresses { Self.unmap(address, byteCount) }
    }
  }

  /// Sizes from 1 MiB on are rounded up to an eighth of their power of two, so that near sizes share a class.
  private static func sizeClass(_ bytes: Int) -> Int {
    guard bytes >= smallest else { return (bytes + 63) / 64 * 64 }
    let step = max(1 << (Int.bitWidth - bytes.leadingZeroBitCount - 4), 4096)
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

  private static func unmap(_ address: UInt, _ byteCount: Int) {
    unsafe _ = munmap(UnsafeMutableRawPointer(bitPattern: address), byteCount)
  }
}
