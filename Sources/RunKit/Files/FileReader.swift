public import Foundation

/// Reading whole files of bounded size.
public enum FileReader {
  /// All bytes of a regular file.
  ///
  /// - Parameter limit: The most bytes accepted; checked before anything is read, and again while reading.
  /// - Throws: `FileError.missing`, `.notReadable`, `.isFolder`, `.notRegular`, `.tooLarge` or `.failed`.
  public static func bytes(of url: URL, limit: Int) throws(FileError) -> [UInt8] {
    let file = try OpenFile(url.path, for: .reading)
    let size = try file.status().size
    guard size <= limit else { throw .tooLarge(path: url.path, size: size, limit: limit) }
    // The size is only a hint: files under /proc say 0, and a file may grow meanwhile.
    var bytes: [UInt8] = []
    bytes.reserveCapacity(size)
    while true {
      let block = try file.read(upTo: 1 << 16)
      if block.isEmpty { return bytes }
      bytes += block
      guard bytes.count <= limit else { throw .tooLarge(path: url.path, size: bytes.count, limit: limit) }
    }
  }

  /// The first bytes of a regular file; fewer if it is shorter.
  ///
  /// - Throws: As `bytes(of:limit:)`.
  public static func start(of url: URL, count: Int) throws(FileError) -> [UInt8] {
    let file = try OpenFile(url.path, for: .reading)
    var bytes: [UInt8] = []
    while bytes.count < count {
      let block = try file.read(upTo: count - bytes.count)
      if block.isEmpty { break }
      bytes += block
    }
    return bytes
  }

  /// All text of a UTF-8 file, without a byte-order mark.
  ///
  /// - Throws: As `bytes(of:limit:)`, and `FileError.notText`.
  public static func text(of url: URL, limit: Int) throws(FileError) -> String {
    var bytes = try bytes(of: url, limit: limit)
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { bytes.removeFirst(3) }
    guard let text = String(validating: bytes, as: UTF8.self) else { throw .notText(path: url.path) }
    return text
  }

  /// Bytes in a regular file.
  ///
  /// - Throws: `FileError.missing`, `.notReadable`, `.isFolder` or `.notRegular`.
  public static func size(of url: URL) throws(FileError) -> Int {
    try OpenFile(url.path, for: .reading).status().size
  }
}
