/// The characters by which byte-level vocabularies spell bytes, so that each piece is printable text: `Ġ` is a space.
///
/// Source: Radford et al., GPT-2, `encoder.py`, `bytes_to_unicode`.
enum ByteAlphabet {
  /// The character of each byte.
  static let characters: [Unicode.Scalar] = {
    var characters: [Unicode.Scalar] = []
    var next: UInt32 = 256
    for byte in UInt8.min...UInt8.max {
      let isPrintable = 0x21...0x7E ~= byte || 0xA1...0xAC ~= byte || byte >= 0xAE
      if isPrintable {
        characters.append(Unicode.Scalar(byte))
      } else {
        characters.append(Unicode.Scalar(next) ?? " ")
        next += 1
      }
    }
    return characters
  }()

  private static let bytes: [Unicode.Scalar: UInt8] = {
    var bytes: [Unicode.Scalar: UInt8] = [:]
    for (byte, character) in characters.enumerated() { bytes[character] = UInt8(byte) }
    return bytes
  }()

  /// The bytes that a piece spells; nil if it has a character that stands for no byte.
  static func bytes(of piece: some Sequence<Unicode.Scalar>) -> [UInt8]? {
    var result: [UInt8] = []
    for character in piece {
      guard let byte = bytes[character] else { return nil }
      result.append(byte)
    }
    return result
  }
}
