/// A text that knows of each of its characters where it came from.
///
/// Characters are Unicode scalars, as in Python, whose rules for positions and slices templates follow.
struct TaggedText: Sendable {
  /// Who wrote a character.
  enum Origin: UInt8, Sendable {
    /// The template.
    case template
    /// A message of the system, the user or the assistant.
    case system, user, assistant
  }

  private(set) var scalars: [Unicode.Scalar]
  private(set) var origins: [Origin]

  /// An empty text.
  init() { (scalars, origins) = ([], []) }

  /// A text from one place.
  init(_ text: String, origin: Origin = .template) {
    scalars = Array(text.unicodeScalars)
    origins = Array(repeating: origin, count: scalars.count)
  }

  private init(scalars: [Unicode.Scalar], origins: [Origin]) {
    (self.scalars, self.origins) = (scalars, origins)
  }

  var count: Int { scalars.count }
  var isEmpty: Bool { scalars.isEmpty }

  /// The text without its origins.
  var string: String {
    var view = String.UnicodeScalarView()
    view.append(contentsOf: scalars)
    return String(view)
  }

  mutating func append(_ other: TaggedText) {
    scalars += other.scalars
    origins += other.origins
  }

  mutating func append(_ index: Int, of other: TaggedText) {
    scalars.append(other.scalars[index])
    origins.append(other.origins[index])
  }

  /// A stretch of the text.
  func slice(_ range: Range<Int>) -> TaggedText {
    TaggedText(scalars: Array(scalars[range]), origins: Array(origins[range]))
  }

  /// Whether `other` stands at a position.
  func has(_ other: TaggedText, at position: Int) -> Bool {
    position >= 0 && position + other.count <= count
      && scalars[position..<position + other.count].elementsEqual(other.scalars)
  }

  /// The first place of `other` from `start` on.
  func firstIndex(of other: TaggedText, from start: Int = 0) -> Int? {
    guard let first = other.scalars.first else { return start <= count ? start : nil }
    var position = start
    while position + other.count <= count {
      if scalars[position] == first, has(other, at: position) { return position }
      position += 1
    }
    return nil
  }

  /// The last place of `other`.
  func lastIndex(of other: TaggedText) -> Int? {
    var position = count - other.count
    while position >= 0 {
      if has(other, at: position) { return position }
      position -= 1
    }
    return nil
  }

  /// Each character changed; what it becomes has its origin.
  func mapping(_ change: (Unicode.Scalar) -> String) -> TaggedText {
    var result = TaggedText()
    for (scalar, origin) in zip(scalars, origins) {
      result.append(TaggedText(change(scalar), origin: origin))
    }
    return result
  }

  /// Without the characters at the ends that are in `set`; nil stands for whitespace.
  func trimmed(_ set: TaggedText?, left: Bool = true, right: Bool = true) -> TaggedText {
    let drops = { (scalar: Unicode.Scalar) in set?.scalars.contains(scalar) ?? Self.isSpace(scalar) }
    var (start, end) = (0, count)
    if left { while start < end, drops(scalars[start]) { start += 1 } }
    if right { while end > start, drops(scalars[end - 1]) { end -= 1 } }
    return slice(start..<end)
  }

  /// What Python's `str.isspace` says.
  static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F,
      0x3000:
      true
    default: false
    }
  }
}

extension TaggedText: Equatable {
  /// Whether both are the same text; where it came from does not matter.
  static func == (left: TaggedText, right: TaggedText) -> Bool { left.scalars == right.scalars }
}
