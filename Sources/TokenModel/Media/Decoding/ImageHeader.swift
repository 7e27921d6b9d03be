/// What the first parts of an image file say, without decoding it.
///
/// Read here for JPEG, PNG and WebP: an image that is too large is refused before any program is started, and how the
/// camera was held is known (EXIF).
///
/// Source: ITU-T T.81 (JPEG) appendix B; W3C Portable Network Graphics, third edition; RFC 9649 (WebP); CIPA DC-008
/// (EXIF) for the orientation.
struct ImageHeader: Equatable {
  enum Kind: Equatable {
    /// - components: Sampling factors of each component, horizontal and vertical.
    /// - transform: Of an Adobe segment.
    case jpeg(components: [Sampling], transform: Int?)
    case png
    /// - isLossy: One picture of brightness and colour differences.
    case webp(isLossy: Bool)
    case other
  }

  struct Sampling: Equatable {
    let identifier: Int
    let horizontal: Int
    let vertical: Int
  }

  var kind = Kind.other
  /// Rows and columns as stored; nil if the file does not say so where it is looked for.
  var size: (height: Int, width: Int)?
  /// 1 to 8 as in EXIF; 1 is upright.
  var orientation = 1

  static func == (left: ImageHeader, right: ImageHeader) -> Bool {
    left.kind == right.kind && left.orientation == right.orientation
      && left.size?.height == right.size?.height
      && left.size?.width == right.size?.width
  }

  /// Reads as much as is whole; a broken file is left to the decoder.
  init(_ bytes: [UInt8]) {
    let reader = HeaderBytes(bytes: bytes)
    if reader.starts(with: [0xFF, 0xD8, 0xFF], at: 0) { readJPEG(reader) }
    if reader.starts(with: [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A], at: 0) { readPNG(reader) }
    if reader.starts(with: Array("RIFF".utf8), at: 0), reader.starts(with: Array("WEBP".utf8), at: 8) {
      readWebP(reader)
    }
    if reader.starts(with: Array("II*".utf8), at: 0) || reader.starts(with: Array("MM\0*".utf8), at: 0) {
      orientation = reader.orientation(from: 0, to: bytes.count) ?? 1
    }
  }

  private mutating func readJPEG(_ reader: HeaderBytes) {
    var components: [Sampling] = []
    var transform: Int?
    defer { kind = .jpeg(components: components, transform: transform) }
    var offset = 2
    while let marker = reader.number(offset, 2, isBig: true),
      let length = reader.number(offset + 2, 2, isBig: true)
    {
      // Fill bytes may stand before a marker.
      if marker == 0xFFFF {
        offset += 1
        continue
      }
      guard marker > 0xFF00, length >= 2 else { return }
      let contents = offset + 4
      switch marker & 0xFF {
      case 0xC0...0xC3, 0xC5...0xC7, 0xC9...0xCB, 0xCD...0xCF:
        guard let height = reader.number(contents + 1, 2, isBig: true),
          let width = reader.number(contents + 3, 2, isBig: true),
          let count = reader.number(contents + 5, 1, isBig: true)
        else { return }
        size = (height, width)
        for index in 0..<count {
          guard let place = reader.number(contents + 6 + 3 * index, 2, isBig: true) else { return }
          components.append(
            Sampling(identifier: place >> 8, horizontal: (place >> 4) & 0xF, vertical: place & 0xF))
        }
      case 0xE1 where reader.starts(with: Array("Exif\0\0".utf8), at: contents):
        orientation = reader.orientation(from: contents + 6, to: offset + 2 + length) ?? orientation
      case 0xEE where reader.starts(with: Array("Adobe".utf8), at: contents):
        transform = reader.number(contents + 11, 1, isBig: true)
      case 0xDA, 0xD9: return
      default: break
      }
      offset += 2 + length
    }
  }

  private mutating func readPNG(_ reader: HeaderBytes) {
    kind = .png
    guard let width = reader.number(16, 4, isBig: true), let height = reader.number(20, 4, isBig: true) else {
      return
    }
    size = (height, width)
    var offset = 8
    while let length = reader.number(offset, 4, isBig: true) {
      if reader.starts(with: Array("eXIf".utf8), at: offset + 4) {
        orientation = reader.orientation(from: offset + 8, to: offset + 8 + length) ?? orientation
      }
      offset += 12 + length
    }
  }

  private mutating func readWebP(_ reader: HeaderBytes) {
    var (isLossy, offset) = (false, 12)
    defer { kind = .webp(isLossy: isLossy) }
    while let length = reader.number(offset + 4, 4, isBig: false) {
      let contents = offset + 8
      if reader.starts(with: Array("VP8X".utf8), at: offset),
        let width = reader.number(contents + 4, 3, isBig: false),
        let height = reader.number(contents + 7, 3, isBig: false)
      {
        size = (height + 1, width + 1)
      } else if reader.starts(with: Array("VP8 ".utf8), at: offset),
        let width = reader.number(contents + 6, 2, isBig: false),
        let height = reader.number(contents + 8, 2, isBig: false)
      {
        isLossy = true
        if size == nil { size = (height & 0x3FFF, width & 0x3FFF) }
      } else if size == nil, reader.starts(with: Array("VP8L".utf8), at: offset),
        let bits = reader.number(contents + 1, 4, isBig: false)
      {
        size = ((bits >> 14) & 0x3FFF + 1, bits & 0x3FFF + 1)
      } else if reader.starts(with: Array("EXIF".utf8), at: offset) {
        let start = reader.starts(with: Array("Exif\0\0".utf8), at: contents) ? contents + 6 : contents
        orientation = reader.orientation(from: start, to: contents + length) ?? orientation
      }
      offset = contents + length + length % 2
    }
  }
}

/// Looks up numbers that may not be there.
private struct HeaderBytes {
  let bytes: [UInt8]

  func starts(with part: [UInt8], at offset: Int) -> Bool {
    offset + part.count <= bytes.count && bytes[offset..<offset + part.count].elementsEqual(part)
  }

  func number(_ offset: Int, _ count: Int, isBig: Bool) -> Int? {
    guard offset >= 0, offset + count <= bytes.count else { return nil }
    let part = bytes[offset..<offset + count]
    return isBig
      ? part.reduce(0) { $0 << 8 | Int($1) } : part.reversed().reduce(0) { $0 << 8 | Int($1) }
  }

  /// The orientation in a block of EXIF, which is a TIFF file: tag 0x0112 of the first directory.
  func orientation(from start: Int, to end: Int) -> Int? {
    let isBig = starts(with: Array("MM".utf8), at: start)
    guard isBig || starts(with: Array("II".utf8), at: start), end <= bytes.count,
      let directory = number(start + 4, 4, isBig: isBig),
      let count = number(start + directory, 2, isBig: isBig)
    else { return nil }
    for entry in 0..<count {
      let place = start + directory + 2 + 12 * entry
      guard place + 12 <= end, let tag = number(place, 2, isBig: isBig) else { return nil }
      if tag == 0x0112, let value = number(place + 8, 2, isBig: isBig), 1...8 ~= value { return value }
    }
    return nil
  }
}
