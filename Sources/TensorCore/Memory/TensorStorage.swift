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

  deinit {
    unsafe BufferPool.shared.give(back: pointer, byteCount: byteCount)
  }
}

/// Keeps freed buffers of at least 1 MiB for the next tensor of the same size class.
///
/// A forward pass frees and makes buffers of the same few sizes again and again; without the pool the allocator would
/// return them to the system and fault every page in again. Kept memory is bounded by `keepLimit` and counted, so
/// that peak memory stays near what is in use.
final class BufferPool: Sendable {
  static let shared = BufferPool()
  private static let smallest = 1 << 20
  private static let keepLimit = 256 << 20

  private struct State: ~Copyable {
    var free: [Int: [UInt]] = [:]
    var keptBytes = 0
  }
  private let state = Mutex(State())

  /// A buffer of at least `floats` elements and its true size in bytes.
  func take(floats: Int) -> (UnsafeMutablePointer<Float>, Int) {
    let byteCount = Self.sizeClass(max(floats, 1) * MemoryLayout<Float>.stride)
    let kept = state.withLock { state -> UInt? in
      guard let address = state.free[byteCount]?.popLast() else { return nil }
      state.keptBytes -= byteCount
      return address
    }
    if let kept, let pointer = unsafe UnsafeMutablePointer<Float>(bitPattern: kept) {
      return unsafe (pointer, byteCount)
    }
    let raw = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 64)
    return unsafe (raw.bindMemory(to: Float.self, capacity: byteCount / MemoryLayout<Float>.stride), byteCount)
  }

  /// Takes a buffer back that `take` gave.
  func give(back pointer: UnsafeMutablePointer<Float>, byteCount: Int) {
    let address = UInt(bitPattern: pointer)
    let isKept = state.withLock { state -> Bool in
      guard byteCount >= Self.smallest, state.keptBytes + byteCount <= Self.keepLimit else { return false }
      // Two of a size are enough for the ping-pong of a layer; more would only raise the peak.
      guard state.free[byteCount, default: []].count < 2 else { return false }
      state.free[byteCount, default: []].append(address)
      state.keptBytes += byteCount
      return true
    }
    if !isKept { unsafe UnsafeMutableRawPointer(pointer).deallocate() }
  }

  /// Frees everything that is kept.
  func drain() {
    let addresses = state.withLock { state -> [UInt] in
      let addresses = state.free.values.flatMap { $0 }
      state.free = [:]
      state.keptBytes = 0
      return addresses
    }
    for address in addresses { unsafe UnsafeMutableRawPointer(bitPattern: address)?.deallocate() }
  }

  /// Sizes from 1 MiB on are rounded up to an eighth of their power of two, so that near sizes share a class.
  private static func sizeClass(_ bytes: Int) -> Int {
    guard bytes >= smallest else { return (bytes + 63) / 64 * 64 }
    let step = max(1 << (Int.bitWidth - bytes.leadingZeroBitCount - 4), 4096)
    return (bytes + step - 1) / step * step
  }
}
