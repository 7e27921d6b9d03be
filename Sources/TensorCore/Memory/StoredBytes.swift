/// The bytes of a stored tensor: part of a mapped file, or an array of their own.
public enum StoredBytes: Sendable {
  /// These bytes of a file; the file stays mapped as long as this value lives.
  case mapped(MappedFile, Range<Int>)
  /// Bytes in memory.
  case owned([UInt8])

  /// How many bytes there are.
  public var count: Int {
    switch self {
    case .mapped(_, let range): range.count
    case .owned(let bytes): bytes.count
    }
  }

  /// A copy of the bytes in `range`, counted from the first byte here.
  public func bytes(_ range: Range<Int>) -> [UInt8] {
    unsafe withUnsafeBytes { unsafe [UInt8]($0[range]) }
  }

  /// The bytes in `range`, counted from the first byte here; those of a file are not copied.
  public func slice(_ range: Range<Int>) -> StoredBytes {
    switch self {
    case .mapped(let file, let whole):
      .mapped(file, whole.lowerBound + range.lowerBound..<whole.lowerBound + range.upperBound)
    case .owned(let bytes): .owned(Array(bytes[range]))
    }
  }

  /// Calls `body` with the bytes, which must not be used after it returns. They need not be aligned.
  public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    switch self {
    case .mapped(let file, let range): unsafe try file.withUnsafeBytes(range, body)
    case .owned(let bytes): unsafe try bytes.withUnsafeBytes(body)
    }
  }

  /// Calls `body` with the bytes.
  public func withSpan<Result>(_ body: (Span<UInt8>) throws -> Result) rethrows -> Result {
    unsafe try withUnsafeBytes { raw in
      try body(unsafe Span(_unsafeElements: raw.assumingMemoryBound(to: UInt8.self)))
    }
  }

  /// Lets the system drop mapped pages; does nothing for bytes in memory.
  public func releasePages() {
    if case .mapped(let file, let range) = self { file.releasePages(range) }
  }
}
