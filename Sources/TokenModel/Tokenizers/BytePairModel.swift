import RunKit

/// The `model` of a `tokenizer.json` of type BPE: pieces by their spelling, merge rules, and what becomes of characters
/// outside the vocabulary.
struct BytePairModel: Sendable {
  /// What the file says beside pieces and rules.
  struct Options: Sendable {
    /// The piece for characters outside the vocabulary.
    var unknown: String?
    /// Whether neighbouring unknown characters become one.
    var fusesUnknown = false
    /// Whether an unknown character is spelled by pieces such as `<0xE2>`.
    var usesByteFallback = false
    /// Whether a word that is a piece as a whole is taken so, whatever the rules make of it.
    var ignoresMerges = false
  }

  /// The pieces by id; nil for an id without one.
  private(set) var pieces: [String?] = []
  /// The ids by spelling.
  private(set) var ids: [PieceKey: Int]
  private let options: Options
  private let isByteLevel: Bool
  private var merger: BytePairMerger
  private var unknownID: Int32?
  /// The symbols of each character of one piece, for texts that are not byte-level.
  private var characterIDs: [UInt32: Int32] = [:]
  /// The id of each byte's character, or -1, for byte-level texts.
  private var byteIDs: [Int32] = []
  /// The ids of `<0x00>` to `<0xFF>`, or -1.
  private var fallbackIDs: [Int32]
  /// Whole pieces by their bytes, for `ignoresMerges`.
  private var wholePieces: [ArraySlice<UInt8>: Int32] = [:]

  /// The most pieces, and one more than the greatest id.
  static let pieceLimit = 1 << 20
  /// The most merge rules.
  static let ruleLimit = 1 << 20
  /// The longest piece in bytes.
  static let pieceLengthLimit = 1 << 12

  /// - Parameters:
  ///   - path: The file, for messages.
  ///   - vocabulary: Pieces with their ids; each piece once.
  ///   - rules: The two parts of each merge, the first rule having the lowest rank.
  ///   - isByteLevel: Whether pieces spell bytes.
  /// - Throws: `TokenizerError.tooMany`, `.duplicateID`, `.malformedMerge`, `.unknownMergePart`, `.unknownToken`.
  init(
    path: String, vocabulary: [(piece: String, id: Int)], rules: [(left: String, right: String)],
    options: Options, isByteLevel: Bool
  ) throws(TokenizerError) {
    guard vocabulary.count <= Self.pieceLimit else {
      throw .tooMany(path: path, what: "pieces", found: vocabulary.count, limit: Self.pieceLimit)
    }
    guard rules.count <= Self.ruleLimit else {
      throw .tooMany(path: path, what: "merge rules", found: rules.count, limit: Self.ruleLimit)
    }
    (self.options, self.isByteLevel) = (options, isByteLevel)
    ids = Dictionary(minimumCapacity: vocabulary.count)
    for (piece, id) in vocabulary {
      guard 0..<Self.pieceLimit ~= id else {
        throw .tooMany(path: path, what: "ids", found: id, limit: Self.pieceLimit)
      }
      guard piece.utf8.count <= Self.pieceLengthLimit else {
        throw .tooMany(
          path: path, what: "bytes in one piece", found: piece.utf8.count, limit: Self.pieceLengthLimit)
      }
      if id >= pieces.count { pieces += repeatElement(nil, count: id + 1 - pieces.count) }
      if let other = pieces[id] { throw .duplicateID(path: path, id: id, first: other, second: piece) }
      pieces[id] = piece
      ids[PieceKey(piece)] = id
    }
    let identifiers = ids
    fallbackIDs = (0..<256).map { byte in
      let hexadecimal = String(byte, radix: 16, uppercase: true)
      let piece = "<0x" + (byte < 16 ? "0" : "") + hexadecimal + ">"
      return Int32(identifiers[PieceKey(piece)] ?? -1)
    }
    merger = BytePairMerger(ruleCount: rules.count)
    try addRules(rules, path: path)
    for (piece, id) in vocabulary {
      let scalars = piece.unicodeScalars
      if scalars.count == 1, let scalar = scalars.first { characterIDs[scalar.value] = Int32(id) }
    }
    if isByteLevel { byteIDs = ByteAlphabet.characters.map { characterIDs[$0.value] ?? -1 } }
    if let unknown = options.unknown {
      guard let id = ids[PieceKey(unknown)] else {
        throw .unknownToken(path: path, key: "model.unk_token", token: unknown)
      }
      unknownID = Int32(id)
    }
    if options.ignoresMerges {
      for (piece, id) in vocabulary {
        let bytes = isByteLevel ? ByteAlphabet.bytes(of: piece.unicodeScalars) : Array(piece.utf8)
        if let bytes { wholePieces[bytes[...]] = Int32(id) }
      }
    }
  }

  /// A rule's parts and their joined text must be pieces. As no part is empty each rule makes a longer piece of two
  /// shorter ones: rules cannot run in a circle.
  private mutating func addRules(
    _ rules: [(left: String, right: String)], path: String
  ) throws(TokenizerError) {
    func id(_ piece: String, _ rank: Int) throws(TokenizerError) -> Int32 {
      guard let id = ids[PieceKey(piece)] else {
        throw .unknownMergePart(path: path, rule: rank, piece: piece)
      }
      return Int32(id)
    }
    let fallback = Set(fallbackIDs)
    for (rank, rule) in rules.enumerated() {
      guard let last = rule.left.unicodeScalars.last, let first = rule.right.unicodeScalars.first else {
        throw .malformedMerge(path: path, rule: rank, found: rule.left + " " + rule.right)
      }
      let (left, right) = (try id(rule.left, rank), try id(rule.right, rank))
      // A piece that stands for a byte or for anything unknown is a symbol itself, not made of its letters.
      let isPlain =
        !fallback.contains(left) && !fallback.contains(right) && rule.left != options.unknown
        && rule.right != options.unknown
      merger.add(left: left, right: right, rank: rank, joined: try id(rule.left + rule.right, rank))
      if !isPlain {
        merger.forgetMeetings()
      } else if let last = ids[PieceKey(String(last))], let first = ids[PieceKey(String(first))] {
        merger.addMeeting(last: Int32(last), first: Int32(first))
      }
    }
  }

  /// A piece of a text with the bytes it covers.
  typealias Symbol = BytePairMerger.Symbol

  /// Room that is used again from word to word.
  struct Scratch {
    private var word: [Symbol] = []
    private var ranks: [UInt64] = []
    fileprivate var pendingUnknown: Symbol?
    /// The words of a text that is long enough to say them again.
    fileprivate var memory: WordMemory?

    /// - Parameter count: Bytes of the text.
    init(forTextOf count: Int = 0) {
      if count >= Self.memoryThreshold { memory = WordMemory() }
    }

    private static let memoryThreshold = 1 << 13

    /// Adds a symbol; where no rule reaches across the border before it, what stands before is merged.
    fileprivate mutating func append(_ symbol: Symbol, _ merger: BytePairMerger, _ output: inout [Symbol]) {
      if let last = word.last, !merger.canMeet(last.id, symbol.id) { finish(merger, &output) }
      word.append(symbol)
    }

    fileprivate mutating func flushUnknown(_ merger: BytePairMerger, _ output: inout [Symbol]) {
      guard let symbol = pendingUnknown else { return }
      pendingUnknown = nil
      append(symbol, merger, &output)
    }

    fileprivate mutating func finish(_ merger: BytePairMerger, _ output: inout [Symbol]) {
      merger.merge(&word, &ranks)
      output.append(contentsOf: word)
      word.removeAll(keepingCapacity: true)
    }
  }

  /// Cuts a word into pieces.
  ///
  /// - Parameter output: Gets id and end of each piece; it starts where the one before it ends.
  func encode(_ bytes: [UInt8], _ range: Range<Int>, _ scratch: inout Scratch, _ output: inout [Symbol]) {
    guard scratch.memory != nil, let key = WordMemory.Key(bytes, range) else {
      return merge(bytes, range, &scratch, &output)
    }
    let (start, first) = (range.lowerBound, output.count)
    if scratch.memory?.append(key, at: start, to: &output) == true { return }
    merge(bytes, range, &scratch, &output)
    scratch.memory?.insert(key, at: start, output[first...])
  }

  private func merge(
    _ bytes: [UInt8], _ range: Range<Int>, _ scratch: inout Scratch, _ output: inout [Symbol]
  ) {
    if options.ignoresMerges, let id = wholePieces[bytes[range]] {
      output.append(Symbol(id: id, end: Int32(range.upperBound)))
      return
    }
    var position = range.lowerBound
    while position < range.upperBound {
      let (scalar, count) = isByteLevel ? (0, 1) : UTF8Text.scalar(bytes, position)
      let end = position + count
      let known = isByteLevel ? byteIDs[Int(bytes[position])] : characterIDs[UInt32(scalar)] ?? -1
      if known >= 0 {
        scratch.flushUnknown(merger, &output)
        scratch.append(Symbol(id: known, end: Int32(end)), merger, &output)
      } else if !appendFallback(bytes, position..<end, &scratch, &output), let unknownID {
        // An unknown character waits for the next known one; bytes spelled in between come before it.
        if !options.fusesUnknown { scratch.flushUnknown(merger, &output) }
        scratch.pendingUnknown = Symbol(id: unknownID, end: Int32(end))
      }
      position = end
    }
    scratch.flushUnknown(merger, &output)
    scratch.finish(merger, &output)
  }

  /// Spells a character outside the vocabulary by the pieces of its bytes, if all of them are there.
  private func appendFallback(
    _ bytes: [UInt8], _ range: Range<Int>, _ scratch: inout Scratch, _ output: inout [Symbol]
  ) -> Bool {
    guard options.usesByteFallback else { return false }
    // A byte-level text is spelled in the characters of its alphabet before this is asked.
    let spelled =
      isByteLevel
      ? Array(String(ByteAlphabet.characters[Int(bytes[range.lowerBound])]).utf8) : Array(bytes[range])
    guard spelled.allSatisfy({ fallbackIDs[Int($0)] >= 0 }) else { return false }
    for (index, byte) in spelled.enumerated() {
      let end = isByteLevel ? range.upperBound : range.lowerBound + index + 1
      scratch.append(Symbol(id: fallbackIDs[Int(byte)], end: Int32(end)), merger, &output)
    }
    return true
  }
}
