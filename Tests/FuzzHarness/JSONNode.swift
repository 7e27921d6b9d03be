import RunKit

/// A JSON document that may be wrong: keys may stand twice and leaves may be any bytes.
enum JSONNode {
  case leaf([UInt8])
  case array([JSONNode])
  case object([(key: [UInt8], value: JSONNode)])

  init(_ value: JSONValue) {
    switch value {
    case .array(let elements): self = .array(elements.map { JSONNode($0) })
    case .object(let object):
      self = .object(object.members.map { (Self.quoted($0.key), JSONNode($0.value)) })
    default: self = .leaf([UInt8](value.text().utf8))
    }
  }

  static func quoted(_ text: String) -> [UInt8] { [UInt8](JSONValue.string(text).text().utf8) }

  /// The text of the document.
  var bytes: [UInt8] {
    switch self {
    case .leaf(let bytes): return bytes
    case .array(let elements):
      return [UInt8(ascii: "[")] + elements.map(\.bytes).joined(separator: [UInt8(ascii: ",")])
        + [UInt8(ascii: "]")]
    case .object(let members):
      let pairs = members.map { $0.key + [UInt8(ascii: ":")] + $0.value.bytes }
      return [UInt8(ascii: "{")] + pairs.joined(separator: [UInt8(ascii: ",")]) + [UInt8(ascii: "}")]
    }
  }

  /// How many values there are, this one and those within it.
  var nodeCount: Int {
    switch self {
    case .leaf: 1
    case .array(let elements): elements.reduce(1) { $0 + $1.nodeCount }
    case .object(let members): members.reduce(1) { $0 + $1.value.nodeCount }
    }
  }

  /// Changes the value of this number, counted from the outside in and from front to back.
  mutating func edit(_ number: Int, _ change: (inout JSONNode) -> Void) {
    guard number > 0 else { return change(&self) }
    var rest = number - 1
    switch self {
    case .leaf: break
    case .array(var elements):
      for index in elements.indices {
        let count = elements[index].nodeCount
        if rest < count {
          elements[index].edit(rest, change)
          self = .array(elements)
          return
        }
        rest -= count
      }
    case .object(var members):
      for index in members.indices {
        let count = members[index].value.nodeCount
        if rest < count {
          members[index].value.edit(rest, change)
          self = .object(members)
          return
        }
        rest -= count
      }
    }
  }
}

extension JSONNode {
  /// Makes one random change; `words` are strings that mean something to the reader.
  mutating func mutate(words: [String], _ random: inout FuzzRandom) {
    // The outermost value is not the most rewarding one.
    let number = min(random.below(nodeCount + 1), nodeCount - 1)
    var generator = random
    edit(number) { $0.change(words: words, &generator) }
    random = generator
  }

  private mutating func change(words: [String], _ random: inout FuzzRandom) {
    switch self {
    case .leaf(let bytes): self = Self.changedLeaf(bytes, words, &random)
    case .array(var elements):
      guard random.happens(85), !elements.isEmpty else { return self = Self.anyValue(words, &random) }
      let index = random.below(elements.count)
      switch random.below(5) {
      case 0: elements.remove(at: index)
      case 1: elements.insert(elements[index], at: index)
      case 2: elements.swapAt(index, random.below(elements.count))
      case 3: elements.insert(Self.anyValue(words, &random), at: index)
      default: elements[index] = Self.anyValue(words, &random)
      }
      self = .array(elements)
    case .object(var members):
      guard random.happens(85), !members.isEmpty else { return self = Self.anyValue(words, &random) }
      let index = random.below(members.count)
      switch random.below(7) {
      case 0: members.remove(at: index)
      case 1: members.append(members[index])
      case 2: members.swapAt(index, random.below(members.count))
      case 3: members.append((Self.quoted(random.pick(words)), Self.anyValue(words, &random)))
      case 4: members[index].key = Self.quoted(random.pick(words))
      case 5: members[index].value = members[random.below(members.count)].value
      default: members[index].value = Self.anyValue(words, &random)
      }
      self = .object(members)
    }
  }

  private static func changedLeaf(_ bytes: [UInt8], _ words: [String], _ random: inout FuzzRandom) -> JSONNode
  {
    if let number = Int(String(decoding: bytes, as: UTF8.self)), random.happens(60) {
      let step = random.pick([1, -1, 2, 4, 8, -8])
      let changed = random.happens(70) ? number &+ step : random.awkwardNumber(near: number)
      return .leaf([UInt8]("\(changed)".utf8))
    }
    return anyValue(words, &random)
  }

  private static func anyValue(_ words: [String], _ random: inout FuzzRandom) -> JSONNode {
    switch random.below(12) {
    case 0: return .leaf([UInt8](random.pick(["null", "true", "false", "[]", "{}", "\"\""]).utf8))
    case 1, 2: return .leaf([UInt8]("\(random.awkwardNumber(near: 64))".utf8))
    case 3:
      return .leaf(
        [UInt8](random.pick(["1.5", "2.0", "1e3", "-0", "1e308", "1e999", "01", "+1", "NaN", "-"]).utf8))
    case 4: return .leaf([UInt8](repeating: UInt8(ascii: "9"), count: 1 + random.below(500)))
    case 5, 6, 7: return .leaf(quoted(random.pick(words)))
    case 8: return .leaf(random.pick(brokenStrings))
    case 9:
      var nested = JSONNode.leaf([UInt8(ascii: "1")])
      for _ in 0..<random.pick([1, 2, 4, 12, 140, 3_000]) {
        nested = random.happens(50) ? .array([nested]) : .object([(quoted("k"), nested)])
      }
      return nested
    case 10:
      let size = random.happens(10) ? 100_000 : random.below(300)
      return .leaf(quoted(String(repeating: random.pick(["a", "é", "\u{1F600}", "\u{0}"]), count: size)))
    default:
      let size = random.happens(10) ? 50_000 : random.below(20)
      return .array((0..<size).map { .leaf([UInt8]("\($0)".utf8)) })
    }
  }

  /// Strings that break a rule: bytes that are not UTF-8, bad escapes, halves of surrogate pairs, an open end.
  private static let brokenStrings: [[UInt8]] = [
    [0x22, 0xFF, 0x22], [0x22, 0xC0, 0x80, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22],
    [UInt8](#""\x""#.utf8), [UInt8](#""\ud800""#.utf8), [UInt8](#""\ud800\u0041""#.utf8),
    [UInt8](#""\udc00""#.utf8), [UInt8](#""\u12""#.utf8), [0x22, 0x0A, 0x22], [0x22, 0x61], [0x22, 0x5C],
  ]
}
