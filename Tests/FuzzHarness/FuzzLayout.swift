import RunKit

/// How a file is built, so that most changes meet its structure and not its bulk data.
enum FuzzLayout: Sendable {
  /// One JSON document; `words` are keys and values that mean something to its reader.
  case json(words: [String])
  /// One JSON document a line.
  case jsonLines(words: [String])
  /// A length of 8 bytes, a JSON header of that length, data.
  case safetensors(words: [String])
  /// Bytes of which these are structure (headers, counts, offsets).
  case binary(structure: @Sendable ([UInt8]) -> [Range<Int>])

  /// Binary with a header of this many bytes at its front.
  static func binary(headerCount: Int) -> FuzzLayout { .binary { [0..<min(headerCount, $0.count)] } }

  /// Makes one change to the structure of a valid or already changed file.
  func changeStructure(of bytes: [UInt8], _ random: inout FuzzRandom) -> [UInt8] {
    switch self {
    case .json(let words): return Self.changedJSON(bytes, words, &random)
    case .jsonLines(let words):
      var lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false).map { [UInt8]($0) }
      let index = random.below(lines.count)
      switch random.below(8) {
      case 0: lines.insert(lines[index], at: index)
      case 1: lines.remove(at: index)
      default: lines[index] = Self.changedJSON(lines[index], words, &random)
      }
      return [UInt8](lines.joined(separator: [0x0A]))
    case .safetensors(let words): return Self.changedSafetensors(bytes, words, &random)
    case .binary(let structure):
      guard !bytes.isEmpty else { return [random.byte()] }
      let places = structure(bytes).filter { !$0.isEmpty }
      let place = places.isEmpty ? 0..<bytes.count : random.pick(places)
      return Self.changedBytes(bytes, in: place, &random)
    }
  }

  /// Changes one byte anywhere, which mostly meets data.
  static func changeData(of bytes: [UInt8], _ random: inout FuzzRandom) -> [UInt8] {
    guard !bytes.isEmpty else { return [random.byte()] }
    var bytes = bytes
    bytes[bytes.count - 1 - random.below((bytes.count + 1) / 2)] = random.byte()
    return bytes
  }

  private static func changedJSON(
    _ bytes: [UInt8], _ words: [String], _ random: inout FuzzRandom
  ) -> [UInt8] {
    // Once damaged, a document can only be changed as bytes.
    if random.happens(80), let value = try? JSONValue(parsing: bytes) {
      var node = JSONNode(value)
      node.mutate(words: words, &random)
      return node.bytes
    }
    guard !bytes.isEmpty else { return [UInt8(ascii: "{")] }
    if random.happens(15) { return bytes + random.pick([[0x20], [0], [0x7D], [0x2C, 0x31], bytes]) }
    return changedBytes(bytes, in: 0..<bytes.count, &random)
  }

  private static func changedSafetensors(
    _ bytes: [UInt8], _ words: [String], _ random: inout FuzzRandom
  ) -> [UInt8] {
    guard bytes.count >= 8 else { return bytes + [random.byte()] }
    let length = bytes[..<8].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    guard length <= UInt64(bytes.count - 8) else { return changedBytes(bytes, in: 0..<8, &random) }
    let end = 8 + Int(length)
    switch random.below(20) {
    case 0: return changedBytes(bytes, in: 0..<8, &random)
    case 1: return lengthField(random.awkwardNumber(near: Int(length))) + bytes[8...]
    case 2: return [UInt8](bytes.prefix(random.below(bytes.count + 1)))
    case 3: return bytes + [UInt8](repeating: 0, count: 1 + random.below(9))
    default:
      let header = changedJSON([UInt8](bytes[8..<end]), words, &random)
      return lengthField(header.count) + header + bytes[end...]
    }
  }

  static func lengthField(_ length: Int) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) }
  }

  /// One change within `place`: a bit, a byte, a number of several bytes, an insertion, a deletion, a cut.
  private static func changedBytes(
    _ bytes: [UInt8], in place: Range<Int>, _ random: inout FuzzRandom
  ) -> [UInt8] {
    var bytes = bytes
    let offset = place.lowerBound + random.below(place.count)
    switch random.below(8) {
    case 0: bytes[offset] ^= 1 << UInt8(random.below(8))
    case 1: bytes[offset] = random.pick([0, 1, 0x20, 0x22, 0x7F, 0x80, 0xFF])
    case 2: bytes[offset] = random.byte()
    case 3, 4:
      let number = random.awkwardNumber(near: bytes.count)
      let width = random.pick([2, 4, 8])
      for index in 0..<min(width, bytes.count - offset) {
        bytes[offset + index] = UInt8(truncatingIfNeeded: number >> (8 * index))
      }
    case 5: bytes.insert(contentsOf: (0...random.below(8)).map { _ in random.byte() }, at: offset)
    case 6: bytes.removeSubrange(offset..<min(bytes.count, offset + 1 + random.below(8)))
    default: bytes.removeSubrange(offset...)
    }
    return bytes
  }
}
