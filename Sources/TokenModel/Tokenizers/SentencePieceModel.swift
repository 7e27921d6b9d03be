import CSentencePiece

/// The SentencePiece library with one model loaded: cuts text into pieces and joins pieces to text.
///
/// The only place that calls the library.
@safe final class SentencePieceModel: Sendable {
  // The library's encode and decode are const and take no shared state; freed only in `deinit`.
  nonisolated(unsafe) private let model: OpaquePointer

  /// The longest text in bytes that is cut in one go; the library needs some hundred bytes for each.
  static let textLimit = 1 << 18

  /// Loads a model that `SentencePieceProto` has accepted.
  ///
  /// - Throws: `TokenizerError.unusableModel` with the library's reason.
  init(path: String, bytes: [UInt8], pieceCount: Int) throws(TokenizerError) {
    var error: UnsafeMutablePointer<CChar>?
    let loaded = unsafe bytes.withUnsafeBytes { buffer in
      unsafe csp_load(buffer.assumingMemoryBound(to: CChar.self).baseAddress, buffer.count, &error)
    }
    guard let loaded = unsafe loaded else {
      throw .unusableModel(path: path, reason: unsafe Self.reason(error))
    }
    unsafe model = loaded
    // Both have read the same bytes; an id may go to either only if they agree on what exists.
    guard unsafe Int(csp_piece_count(loaded)) == pieceCount else {
      unsafe csp_free_model(loaded)
      throw .unusableModel(path: path, reason: "the library does not see all of its pieces")
    }
  }

  deinit { unsafe csp_free_model(model) }

  /// A piece of a text.
  struct Piece {
    let id: Int
    /// How the vocabulary spells it; an unknown one keeps the text it stands for.
    let piece: String
    /// The bytes of the text it stands for.
    var place: Range<Int>
  }

  /// The pieces of a text.
  ///
  /// - Throws: `TokenizerError.textTooLong`.
  func encode(_ text: some Sequence<UInt8>) throws(TokenizerError) -> [Piece] {
    let text = Array(text)
    guard text.count <= Self.textLimit else { throw .textTooLong(count: text.count, limit: Self.textLimit) }
    var encoding = unsafe csp_encoding()
    var error: UnsafeMutablePointer<CChar>?
    let encoded = unsafe text.withUnsafeBytes { buffer in
      // An empty array may have no address, the library wants one.
      unsafe buffer.isEmpty
        ? csp_encode(model, "", 0, &encoding, &error)
        : csp_encode(
          model, buffer.assumingMemoryBound(to: CChar.self).baseAddress, buffer.count, &encoding, &error)
    }
    guard encoded else { throw .unusableModel(path: "tokenizer.model", reason: unsafe Self.reason(error)) }
    defer { unsafe csp_free_encoding(&encoding) }
    var (pieces, start): ([Piece], Int) = ([], 0)
    for index in 0..<(unsafe encoding.count) {
      let end = unsafe Int(encoding.ends[index])
      let bytes = unsafe UnsafeRawBufferPointer(start: encoding.bytes + start, count: end - start)
      let (first, last) = unsafe (Int(encoding.text_starts[index]), Int(encoding.text_ends[index]))
      pieces.append(
        Piece(
          id: unsafe Int(encoding.ids[index]), piece: unsafe String(decoding: bytes, as: UTF8.self),
          place: min(first, text.count)..<min(max(first, last), text.count)))
      start = end
    }
    return pieces
  }

  /// The text of pieces; one that the model does not have stands for itself.
  func decode(_ pieces: [String]) throws(TokenizerError) -> String {
    let bytes = pieces.flatMap(\.utf8) + [0]
    var ends: [Int] = []
    for piece in pieces { ends.append((ends.last ?? 0) + piece.utf8.count) }
    ends.append(0)
    var text = unsafe csp_text()
    var error: UnsafeMutablePointer<CChar>?
    let decoded = unsafe bytes.withUnsafeBytes { bytes in
      unsafe ends.withUnsafeBufferPointer { ends in
        unsafe ends.withMemoryRebound(to: UInt.self) { ends in
          unsafe csp_decode(
            model, bytes.assumingMemoryBound(to: CChar.self).baseAddress, ends.baseAddress, pieces.count,
            &text,
            &error)
        }
      }
    }
    guard decoded else { throw .unusableModel(path: "tokenizer.model", reason: unsafe Self.reason(error)) }
    defer { unsafe csp_free_text(text.bytes) }
    return unsafe String(
      decoding: UnsafeRawBufferPointer(start: text.bytes, count: text.count), as: UTF8.self)
  }

  /// The library's words, which are freed.
  private static func reason(_ error: UnsafeMutablePointer<CChar>?) -> String {
    guard let error = unsafe error else { return "not enough memory" }
    defer { unsafe csp_free_text(error) }
    return unsafe String(cString: error)
  }
}
