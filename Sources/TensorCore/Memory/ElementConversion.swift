/// Conversions of stored little-endian elements, which may lie at any address.
extension StoredBytes {
  /// Reads every element as `Stored` and converts it.
  ///
  /// - Precondition: The byte count is a multiple of the size of `Stored`.
  func elements<Stored: BitwiseCopyable, Value>(
    of stored: Stored.Type, _ convert: (Stored) throws -> Value
  ) rethrows -> [Value] {
    let size = MemoryLayout<Stored>.size
    require(count % size == 0, "\(count) bytes are not whole elements of \(size)")
    return try unsafe withUnsafeBytes { raw in
      let elementCount = raw.count / size
      return try unsafe [Value](unsafeUninitializedCapacity: elementCount) { values, initializedCount in
        for index in 0..<elementCount {
          let element = unsafe raw.loadUnaligned(fromByteOffset: index * size, as: Stored.self)
          unsafe (values.baseAddress! + index).initialize(to: try convert(element))
          initializedCount = index + 1
        }
      }
    }
  }

  /// Reads every element as a half. (The compiler's own conversion follows the thread's denormal mode.)
  func halves() -> [Float] {
    unsafe withUnsafeBytes { raw in
      unsafe [Float](unsafeUninitializedCapacity: raw.count / 2) { values, initializedCount in
        if let source = raw.baseAddress, let target = values.baseAddress {
          unsafe Kernels.convert(source, .f16, to: target, count: raw.count / 2)
        }
        initializedCount = raw.count / 2
      }
    }
  }

  /// The little-endian bytes of some values.
  init<Value: BitwiseCopyable>(elements values: [Value]) {
    self = .owned(unsafe values.withUnsafeBytes { unsafe [UInt8]($0) })
  }
}
