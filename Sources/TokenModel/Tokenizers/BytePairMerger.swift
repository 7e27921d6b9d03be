/// Joins neighbouring symbols by the merge rules of a byte-pair encoding: of all pairs with a rule the one of the
/// lowest rank, of equal ones the first, until no pair has a rule.
///
/// Source: Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units", ACL 2016,
/// arXiv:1508.07909, algorithm 1; order and ties as `word.rs` of the `tokenizers` library.
struct BytePairMerger: Sendable {
  /// For each pair of ids with a rule: its rank in the upper half, the id of the joined piece in the lower.
  private var rules: PairTable
  /// Pairs of symbols that some rule could bring together; see `canMeet`.
  private var meetings: PairTable
  /// Whether `meetings` may be used.
  private var knowsMeetings = true

  /// From this many symbols on a word is merged with a heap.
  private static let heapThreshold = 48

  init(ruleCount: Int) {
    rules = PairTable(minimumCapacity: ruleCount)
    meetings = PairTable(minimumCapacity: 1 << 12)
  }

  /// Adds a rule; of two for one pair the later one holds.
  mutating func add(left: Int32, right: Int32, rank: Int, joined: Int32) {
    rules[left, right] = UInt64(rank) << 32 | UInt64(UInt32(bitPattern: joined))
  }

  /// Says that some rule joins a piece that ends with one symbol to a piece that starts with the other.
  mutating func addMeeting(last: Int32, first: Int32) { meetings[last, first] = 1 }

  /// Says that the symbols of a piece with a rule are not known, so that any two symbols may be brought together.
  mutating func forgetMeetings() { knowsMeetings = false }

  /// Whether a rule could ever join pieces across the border between two neighbouring symbols.
  ///
  /// A rule joins a piece that ends with the left symbol to one that starts with the right one. Where there is no such
  /// rule the word falls into two that do not know of each other: a text without spaces that is one word to the
  /// pre-tokenizer is merged in small parts, with the same result.
  func canMeet(_ left: Int32, _ right: Int32) -> Bool { !knowsMeetings || meetings[left, right] != nil }

  /// One symbol or piece of a word.
  struct Symbol {
    var id: Int32
    /// Where it ends in the text.
    var end: Int32
  }

  /// Merges a word in place.
  ///
  /// - Parameter ranks: Room that is used again from word to word.
  func merge(_ word: inout [Symbol], _ ranks: inout [UInt64]) {
    if word.count < 2 { return }
    if word.count < Self.heapThreshold { mergeShort(&word, &ranks) } else { mergeLong(&word) }
  }

  private static let none = UInt64.max

  private func rule(_ word: [Symbol], _ index: Int) -> UInt64 {
    index >= 0 && index + 1 < word.count ? rules[word[index].id, word[index + 1].id] ?? Self.none : Self.none
  }

  /// Looks through all pairs for each merge: quadratic, and the fastest way for words of some letters.
  private func mergeShort(_ word: inout [Symbol], _ ranks: inout [UInt64]) {
    ranks.removeAll(keepingCapacity: true)
    for index in 0..<word.count - 1 { ranks.append(rule(word, index)) }
    while true {
      var (best, place) = (Self.none, -1)
      for index in 0..<ranks.count where ranks[index] < best { (best, place) = (ranks[index], index) }
      guard place >= 0 else { return }
      word[place] = Symbol(id: Int32(truncatingIfNeeded: best), end: word[place + 1].end)
      word.remove(at: place + 1)
      ranks.remove(at: place)
      if place > 0 { ranks[place - 1] = rule(word, place - 1) }
      if place < ranks.count { ranks[place] = rule(word, place) }
    }
  }

  /// Keeps pairs in a heap and symbols in a linked list: n log n for n symbols.
  private func mergeLong(_ word: inout [Symbol]) {
    let count = word.count
    var next = (0..<count).map { Int32($0 + 1) }
    var previous = (0..<count).map { Int32($0 - 1) }
    // A candidate is its rank above its place, so that the least one is the next to do.
    var heap = CandidateHeap()
    func candidate(_ left: Int, _ right: Int) -> UInt64? {
      rules[word[left].id, word[right].id].map { $0 & ~0xFFFF_FFFF | UInt64(left) }
    }
    for index in 0..<count - 1 { if let entry = candidate(index, index + 1) { heap.append(entry) } }
    heap.order()
    while let entry = heap.popLeast() {
      let left = Int(entry & 0xFFFF_FFFF)
      let right = Int(next[left])
      // Symbols that were joined to another have the end -1; a pair that has changed has another rank.
      guard word[left].end >= 0, right < count, let rule = rules[word[left].id, word[right].id],
        rule >> 32 == entry >> 32
      else { continue }
      word[left] = Symbol(id: Int32(truncatingIfNeeded: rule), end: word[right].end)
      word[right].end = -1
      let after = Int(next[right])
      next[left] = Int32(after)
      if after < count {
        previous[after] = Int32(left)
        if let entry = candidate(left, after) { heap.push(entry) }
      }
      let before = Int(previous[left])
      if before >= 0, let entry = candidate(before, left) { heap.push(entry) }
    }
    word.removeAll { $0.end < 0 }
  }
}

/// A binary heap of numbers with the least on top.
private struct CandidateHeap {
  private var entries: [UInt64] = []

  /// Adds an entry without ordering.
  mutating func append(_ entry: UInt64) { entries.append(entry) }

  /// Brings entries that were only appended into order.
  mutating func order() {
    for index in stride(from: entries.count / 2 - 1, through: 0, by: -1) { sink(index) }
  }

  mutating func push(_ entry: UInt64) {
    entries.append(entry)
    var index = entries.count - 1
    while index > 0 {
      let parent = (index - 1) / 2
      if entries[parent] <= entry { break }
      entries[index] = entries[parent]
      index = parent
    }
    entries[index] = entry
  }

  mutating func popLeast() -> UInt64? {
    guard let least = entries.first, let last = entries.popLast() else { return nil }
    if !entries.isEmpty {
      entries[0] = last
      sink(0)
    }
    return least
  }

  private mutating func sink(_ start: Int) {
    let entry = entries[start]
    var index = start
    while true {
      var child = 2 * index + 1
      if child >= entries.count { break }
      if child + 1 < entries.count, entries[child + 1] < entries[child] { child += 1 }
      if entries[child] >= entry { break }
      entries[index] = entries[child]
      index = child
    }
    entries[index] = entry
  }
}
