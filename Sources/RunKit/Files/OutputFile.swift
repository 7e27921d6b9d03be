/// A file being written, with a buffer so that small pieces do not each cost a call to the system.
public final class OutputFile {
  private static let bufferSize = 1 << 18
  private let file: OpenFile
  private var buffer: [UInt8] = []

  /// Bytes given to it so far.
  public private(set) var count = 0

  init(_ file: OpenFile) {
    self.file = file
    buffer.reserveCapacity(Self.bufferSize)
  }

  /// The results of this process; call `flush` at the end.
  public static func standardOutput() -> OutputFile { OutputFile(.standardOutput) }

  /// The messages of this process; call `flush` after each.
  public static func standardError() -> OutputFile { OutputFile(.standardError) }

  /// Adds bytes at the end; those of a large piece go out without a copy.
  ///
  /// - Throws: `FileError.noSpace`, `.readOnly` or `.failed`.
  public func write(_ bytes: Span<UInt8>) throws(FileError) {
    count += bytes.count
    if buffer.count + bytes.count > Self.bufferSize { try flush() }
    if bytes.count >= Self.bufferSize {
      try file.write(bytes)
    } else {
      for offset in bytes.indices { buffer.append(bytes[offset]) }
    }
  }

  /// Adds bytes at the end.
  public func write(_ bytes: [UInt8]) throws(FileError) {
    count += bytes.count
    if buffer.count + bytes.count > Self.bufferSize { try flush() }
    if bytes.count >= Self.bufferSize {
      try file.write(bytes.span)
    } else {
      buffer += bytes
    }
  }

  /// Adds text at the end, as UTF-8.
  public func write(_ text: String) throws(FileError) {
    try write([UInt8](text.utf8))
  }

  /// Hands everything to the system.
  ///
  /// - Throws: `FileError.noSpace`, `.readOnly` or `.failed`.
  public func flush() throws(FileError) {
    if buffer.isEmpty { return }
    // The buffer is taken out of the object, since a view of its bytes may not outlive an access to it.
    var pending: [UInt8] = []
    swap(&pending, &buffer)
    try file.write(pending.span)
    pending.removeAll(keepingCapacity: true)
    swap(&pending, &buffer)
  }

  func flushAndSync() throws(FileError) {
    try flush()
    try file.sync()
  }
}
