import RunKit

/// The directory of a zip archive of stored (uncompressed) entries, checked against the file.
///
/// Zip64 sizes are read. Source: PKWARE's APPNOTE.TXT, sections 4.3 and 4.5.3.
struct ZipDirectory {
  /// One file in the archive.
  struct Entry {
    let name: String
    /// Where its contents lie in the archive.
    let range: Range<Int>
    /// CRC-32 of the contents.
    let checksum: UInt32
  }

  /// The entries in the order of the directory.
  private(set) var entries: [Entry] = []

  private let file: MappedFile
  /// Where the directory lies in the archive, and how many entries it should have.
  private var range = 0..<0
  private var entryCount = 0

  private var archive: NumPyFileError.Place { NumPyFileError.Place(path: file.path, array: nil) }

  init(of file: MappedFile) throws(NumPyFileError) {
    self.file = file
    try findDirectory()
    var reader = ByteReader(file.bytes(range))
    var names: Set<[UInt8]> = []
    // Local headers and contents together, to find entries that share bytes.
    var extents: [Range<Int>] = []
    while reader.remaining > 0 {
      let (entry, extent) = try entry(from: &reader)
      guard names.insert([UInt8](entry.name.utf8)).inserted else {
        throw .duplicateArray(NumPyFileError.Place(path: file.path, array: entry.name))
      }
      entries.append(entry)
      extents.append(extent)
    }
    guard entries.count == entryCount else {
      throw .badArchive(archive, found: "\(entries.count) entries where \(entryCount) are announced")
    }
    extents.sort { $0.lowerBound < $1.lowerBound }
    for (extent, next) in zip(extents, extents.dropFirst()) where next.lowerBound < extent.upperBound {
      throw .badArchive(archive, found: "entries that share bytes")
    }
  }

  /// Finds the record at the end, which says where the directory is.
  private mutating func findDirectory() throws(NumPyFileError) {
    // 22 bytes and a comment of at most 65,535.
    let tailStart = max(0, file.count - 22 - 65_535)
    let tail = file.bytes(tailStart..<file.count)
    guard
      let position = stride(from: tail.count - 22, through: 0, by: -1).first(where: { start in
        tail[start..<start + 4].elementsEqual([0x50, 0x4B, 5, 6])
          && Int(tail[start + 20]) + Int(tail[start + 21]) << 8 == tail.count - start - 22
      })
    else { throw .notAnArchive(archive) }
    var end = tailStart + position
    var reader = ByteReader([UInt8](tail[(position + 4)...]))
    guard let disk = reader.integer(2), let directoryDisk = reader.integer(2),
      let countHere = reader.integer(2), var count = reader.integer(2),
      var size = reader.integer(4), var offset = reader.integer(4)
    else { throw .notAnArchive(archive) }
    guard disk == 0, directoryDisk == 0, countHere == count else {
      throw .badArchive(archive, found: "an archive in several parts")
    }
    let hasLocator = end >= 20 && file.bytes(end - 20..<end - 16) == [0x50, 0x4B, 6, 7]
    if hasLocator || count == 0xFFFF || size == 0xFFFF_FFFF || offset == 0xFFFF_FFFF {
      (end, count, size, offset) = try wideRecord(before: end)
    }
    guard offset <= end, size == end - offset else {
      throw .badArchive(archive, found: "a directory of \(size) bytes at \(offset), but its end at \(end)")
    }
    range = offset..<end
    entryCount = count
  }

  /// The zip64 record, named by the locator just before the record at the end.
  private func wideRecord(
    before end: Int
  ) throws(NumPyFileError) -> (start: Int, count: Int, size: Int, offset: Int) {
    let failure = NumPyFileError.badArchive(archive, found: "no zip64 record where sizes ask for one")
    guard end >= 76 else { throw failure }
    var locator = ByteReader(file.bytes(end - 20..<end))
    guard locator.take(4) == [0x50, 0x4B, 6, 7], locator.integer(4) == 0, let start = locator.integer(8),
      locator.integer(4) == 1, start <= end - 76
    else { throw failure }
    var record = ByteReader(file.bytes(start..<start + 56))
    guard record.take(4) == [0x50, 0x4B, 6, 6], let length = record.integer(8),
      length == end - 20 - start - 12,
      record.take(4) != nil, record.integer(4) == 0, record.integer(4) == 0,
      let countHere = record.integer(8), let count = record.integer(8), count == countHere,
      let size = record.integer(8), let offset = record.integer(8)
    else { throw failure }
    return (start, count, size, offset)
  }

  /// Reads one entry of the directory and the header in front of its contents.
  private func entry(from reader: inout ByteReader) throws(NumPyFileError) -> (Entry, extent: Range<Int>) {
    let truncated = NumPyFileError.badArchive(archive, found: "a directory that breaks off")
    guard reader.take(4) == [0x50, 0x4B, 1, 2], reader.take(4) != nil, let flags = reader.integer(2),
      let method = reader.integer(2), reader.take(4) != nil, let checksum = reader.integer(4),
      var storedSize = reader.integer(4), var size = reader.integer(4), let nameLength = reader.integer(2),
      let extraLength = reader.integer(2), let commentLength = reader.integer(2),
      reader.take(8) != nil, var offset = reader.integer(4),
      let nameBytes = reader.take(nameLength), let extra = reader.take(extraLength),
      reader.take(commentLength) != nil
    else { throw truncated }
    guard !nameBytes.isEmpty, let name = String(validating: nameBytes, as: UTF8.self) else {
      throw .badArchive(archive, found: "a name that is empty or not UTF-8")
    }
    let place = NumPyFileError.Place(path: file.path, array: name)
    guard flags & 1 == 0 else { throw .encrypted(place) }
    guard method == 0 else { throw .compressed(place, method: method) }
    guard Self.widen(&size, &storedSize, &offset, from: extra) else {
      throw .badArchive(place, found: "no zip64 sizes where they are needed")
    }
    guard size == storedSize else {
      throw .badArchive(
        place, found: "two sizes, \(storedSize) and \(size), of an entry that is not compressed")
    }
    let start = try contentsStart(at: offset, nameBytes: nameBytes, place: place)
    guard start <= range.lowerBound, size <= range.lowerBound - start else {
      throw .badArchive(
        place, found: "\(size) bytes at \(start), past the contents' end at \(range.lowerBound)")
    }
    let entry = Entry(name: name, range: start..<start + size, checksum: UInt32(checksum))
    return (entry, offset..<start + size)
  }

  /// Replaces the sizes that do not fit 32 bits by those of the zip64 field; false if it is not there.
  private static func widen(
    _ size: inout Int, _ storedSize: inout Int, _ offset: inout Int, from extra: [UInt8]
  ) -> Bool {
    var wide = ByteReader([])
    var fields = ByteReader(extra)
    while fields.remaining > 0 {
      guard let kind = fields.integer(2), let length = fields.integer(2), let field = fields.take(length)
      else {
        return false
      }
      if kind == 1 { wide = ByteReader(field) }
    }
    for index in 0..<3 {
      let narrow = [size, storedSize, offset][index]
      guard narrow == 0xFFFF_FFFF else { continue }
      guard let value = wide.integer(8) else { return false }
      switch index {
      case 0: size = value
      case 1: storedSize = value
      default: offset = value
      }
    }
    return true
  }

  /// Where the contents begin, behind the entry's own header at `offset`.
  private func contentsStart(
    at offset: Int, nameBytes: [UInt8], place: NumPyFileError.Place
  ) throws(NumPyFileError) -> Int {
    let failure = NumPyFileError.badArchive(place, found: "no matching header at \(offset)")
    guard offset <= range.lowerBound - 30 else { throw failure }
    var header = ByteReader(file.bytes(offset..<offset + 30))
    guard header.take(4) == [0x50, 0x4B, 3, 4], header.take(4) != nil, header.integer(2) == 0,
      header.take(16) != nil, let nameLength = header.integer(2), let extraLength = header.integer(2),
      nameLength == nameBytes.count, nameLength + extraLength <= range.lowerBound - offset - 30,
      file.bytes(offset + 30..<offset + 30 + nameLength) == nameBytes
    else { throw failure }
    return offset + 30 + nameLength + extraLength
  }
}

/// Makes the headers of an archive while its entries are written.
struct ZipDirectoryWriter {
  private var directory: [UInt8] = []
  private var count = 0
  /// Bytes of the archive so far.
  private var offset = 0

  /// The header to write in front of an entry's contents.
  mutating func add(_ name: String, byteCount: Int, checksum: UInt32) -> [UInt8] {
    var common: [UInt8] = []
    common.append(20, bytes: 2)  // version needed: 2.0
    common.append(0x0800, bytes: 2)  // names are UTF-8
    common.append(0, bytes: 2)  // stored
    common.append(0, bytes: 2)  // time and date: the earliest there is, so that bytes are reproducible
    common.append(0x21, bytes: 2)
    common.append(Int(checksum), bytes: 4)
    common.append(byteCount, bytes: 4)
    common.append(byteCount, bytes: 4)
    common.append(name.utf8.count, bytes: 2)
    common.append(0, bytes: 2)  // no extra field
    let header = [0x50, 0x4B, 3, 4] + common + name.utf8
    directory += [0x50, 0x4B, 1, 2, 20, 0] + common
    directory.append(0, bytes: 6)  // no comment, first part, not text
    directory.append(0, bytes: 4)  // attributes
    directory.append(offset, bytes: 4)
    directory += name.utf8
    count += 1
    offset += header.count + byteCount
    return header
  }

  /// The directory and the record at the end of the archive.
  func end() -> [UInt8] {
    var bytes = directory + [0x50, 0x4B, 5, 6, 0, 0, 0, 0]
    bytes.append(count, bytes: 2)
    bytes.append(count, bytes: 2)
    bytes.append(directory.count, bytes: 4)
    bytes.append(offset, bytes: 4)
    bytes.append(0, bytes: 2)
    return bytes
  }
}
