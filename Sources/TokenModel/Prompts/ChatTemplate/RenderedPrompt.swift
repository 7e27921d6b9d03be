/// A conversation as text, with the role of every byte.
public struct RenderedPrompt: Sendable, Equatable {
  /// Neighbouring bytes of one role.
  public struct Stretch: Sendable, Equatable {
    /// What they are for: text of the template is `instruction`; what is said is `system`, `question` or `response`.
    public let role: Role
    /// The bytes of the text in UTF-8.
    public let range: Range<Int>
  }

  /// The text.
  public let text: String
  /// The stretches in order; together they cover the text.
  public let stretches: [Stretch]

  /// A text of one role.
  public init(text: String, role: Role) {
    self.text = text
    stretches = text.isEmpty ? [] : [Stretch(role: role, range: 0..<text.utf8.count)]
  }

  init(_ tagged: TaggedText) {
    text = tagged.string
    var stretches: [Stretch] = []
    var start = 0
    for (scalar, origin) in zip(tagged.scalars, tagged.origins) {
      let role = Self.role(origin)
      let end = start + scalar.utf8.count
      if let last = stretches.last, last.role == role {
        stretches[stretches.count - 1] = Stretch(role: role, range: last.range.lowerBound..<end)
      } else {
        stretches.append(Stretch(role: role, range: start..<end))
      }
      start = end
    }
    self.stretches = stretches
  }

  private static func role(_ origin: TaggedText.Origin) -> Role {
    switch origin {
    case .template: .instruction
    case .system: .system
    case .user: .question
    case .assistant: .response
    }
  }

  /// The parts of the text by role, each to be encoded by itself.
  ///
  /// Their ids can differ from those of the text as a whole, which `encode` gives: a piece may reach across a border.
  public var parts: [FormattedPart] {
    let bytes = Array(text.utf8)
    return stretches.map { .text(String(decoding: bytes[$0.range], as: UTF8.self), role: $0.role) }
  }

  /// A text of one role.
  struct Part {
    let text: String
    let role: Role
  }

  /// Where a text stands, in bytes.
  func places(of word: String) -> [Range<Int>] {
    let (bytes, word) = (Array(text.utf8), Array(word.utf8))
    guard let first = word.first else { return [] }
    var places: [Range<Int>] = []
    var start = 0
    while start + word.count <= bytes.count {
      if bytes[start] == first, bytes[start..<start + word.count].elementsEqual(word) {
        places.append(start..<start + word.count)
        start += word.count
      } else {
        start += 1
      }
    }
    return places
  }

  /// The prompt with other parts in some places; the places are in order and do not overlap.
  func replacing(_ places: [Range<Int>], by parts: [[Part]]) -> RenderedPrompt {
    let bytes = Array(text.utf8)
    var (result, stretches): ([UInt8], [Stretch]) = ([], [])
    func append(_ bytes: some Collection<UInt8>, _ role: Role) {
      if bytes.isEmpty { return }
      let start = stretches.last?.role == role ? stretches.removeLast().range.lowerBound : result.count
      result += bytes
      stretches.append(Stretch(role: role, range: start..<result.count))
    }
    func appendOwn(_ range: Range<Int>) {
      for stretch in self.stretches {
        let part = stretch.range.clamped(to: range)
        append(bytes[part], stretch.role)
      }
    }
    var start = 0
    for (place, parts) in zip(places, parts) {
      appendOwn(start..<place.lowerBound)
      for part in parts { append(part.text.utf8, part.role) }
      start = place.upperBound
    }
    appendOwn(start..<bytes.count)
    return RenderedPrompt(text: String(decoding: result, as: UTF8.self), stretches: stretches)
  }

  private init(text: String, stretches: [Stretch]) { (self.text, self.stretches) = (text, stretches) }

  /// An id and what it is for.
  public struct Token: Sendable, Equatable {
    /// The id.
    public let id: Int
    /// The role of most of the bytes it covers; of two with as many, that of the first.
    public let role: Role
  }

  /// The ids of the text as a whole, each with the role of the bytes it stands for.
  ///
  /// An id that stands for nothing in the text, such as a space put before it, has the role of what follows. The id that
  /// begins a sequence has the role `bos` at the start.
  ///
  /// - Parameter addingBeginning: Whether the id that begins a sequence is put before the text, as far as the tokenizer's
  ///   settings ask for it and the text does not begin with it already.
  /// - Throws: As `Tokenizer.encode`.
  public func encode(with tokenizer: any Tokenizer, addingBeginning: Bool) throws -> [Token] {
    var tokens: [Token] = []
    var first = 0
    for token in try tokenizer.encodePlaces(text) {
      let place = token.place
      while first + 1 < stretches.count, stretches[first].range.upperBound <= place.lowerBound { first += 1 }
      tokens.append(Token(id: token.id, role: role(of: place, from: first)))
    }
    if let begin = tokenizer.beginID {
      if tokens.first?.id == begin {
        tokens[0] = Token(id: begin, role: .bos)
      } else if addingBeginning, try tokenizer.encode("", addingSpecialTokens: true).first == begin {
        tokens.insert(Token(id: begin, role: .bos), at: 0)
      }
    }
    return tokens
  }

  private func role(of place: Range<Int>, from first: Int) -> Role {
    guard first < stretches.count else { return .instruction }
    if place.isEmpty { return stretches[first].role }
    var counts: [(role: Role, count: Int)] = []
    for stretch in stretches[first...] {
      if stretch.range.lowerBound >= place.upperBound { break }
      let count = stretch.range.clamped(to: place).count
      if let index = counts.firstIndex(where: { $0.role == stretch.role }) {
        counts[index].count += count
      } else {
        counts.append((stretch.role, count))
      }
    }
    var best = (role: stretches[first].role, count: 0)
    for entry in counts where entry.count > best.count { best = entry }
    return best.role
  }
}
