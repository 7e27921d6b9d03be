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
