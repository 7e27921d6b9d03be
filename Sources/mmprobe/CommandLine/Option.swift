import RunKit

/// What help and the parser know of one option.
struct OptionDeclaration: Sendable, Equatable {
  /// The long name without its hyphens.
  let name: String
  /// One letter, for the few options that have a short form.
  let short: Character?
  /// What stands for the value in help, such as `FILE`; nil for a flag, which takes none.
  let valueName: String?
  /// One sentence without a full stop.
  let help: String
  /// Default, range and unit in words, for help.
  let notes: String?
  /// Whether the option may be given more than once.
  let repeats: Bool
  /// Whether a command cannot run without it.
  let isRequired: Bool

  /// The option as a user types it, such as `--threads N`.
  var spelling: String { "--" + name + (valueName.map { " " + $0 } ?? "") }
}

/// Why a text is no value of an option.
struct ValueProblem: Error {
  /// What was expected instead, such as "a whole number from 1 to 64".
  let expected: String
}

/// An option with the type of its value.
struct Option<Value: Sendable>: Sendable {
  /// The untyped part.
  let declaration: OptionDeclaration
  /// The value that the given texts stand for; no text where the option is absent.
  let value: @Sendable ([String]) throws(ValueProblem) -> Value
}

extension Option {
  /// An option of one value; absent, it has its default.
  private static func single(
    _ name: String, short: Character?, _ valueName: String, default fallback: Value, notes: [String?],
    help: String,
    isRequired: Bool = false, read: @escaping @Sendable (String) throws(ValueProblem) -> Value
  ) -> Option {
    let notes = notes.compactMap(\.self)
    let declaration = OptionDeclaration(
      name: name, short: short, valueName: valueName, help: help,
      notes: notes.isEmpty ? nil : notes.joined(separator: "; "), repeats: false, isRequired: isRequired)
    return Option(declaration: declaration) { texts throws(ValueProblem) in
      guard let text = texts.first else { return fallback }
      return try read(text)
    }
  }
}

extension Option where Value == Bool {
  /// An option without a value.
  static func flag(_ name: String, short: Character? = nil, _ help: String) -> Option {
    let declaration = OptionDeclaration(
      name: name, short: short, valueName: nil, help: help, notes: nil, repeats: false, isRequired: false)
    return Option(declaration: declaration) { texts throws(ValueProblem) in !texts.isEmpty }
  }
}

extension Option where Value == Int {
  /// A whole number with a default.
  static func integer(
    _ name: String, short: Character? = nil, _ valueName: String = "N", in range: ClosedRange<Int>,
    default value: Int,
    unit: String? = nil, _ help: String
  ) -> Option {
    single(
      name, short: short, valueName, default: value,
      notes: ["default \(value)" + (unit.map { " " + $0 } ?? ""), words(range)],
      help: help
    ) { text throws(ValueProblem) in try integer(text, in: range) }
  }

  /// How often a flag is given.
  static func count(_ name: String, short: Character, _ help: String) -> Option {
    let declaration = OptionDeclaration(
      name: name, short: short, valueName: nil, help: help, notes: nil, repeats: true, isRequired: false)
    return Option(declaration: declaration) { texts throws(ValueProblem) in texts.count }
  }
}

extension Option where Value == Int? {
  /// A whole number that may be left out.
  ///
  /// - Parameter absence: What happens without it, for help.
  static func integer(
    _ name: String, short: Character? = nil, _ valueName: String = "N", in range: ClosedRange<Int>,
    absence: String,
    _ help: String
  ) -> Option {
    single(
      name, short: short, valueName, default: nil, notes: ["default \(absence)", words(range)], help: help
    ) {
      text throws(ValueProblem) in try Option<Int>.integer(text, in: range)
    }
  }
}

extension Option where Value == Double {
  /// A number with a default.
  static func number(
    _ name: String, _ valueName: String = "X", in range: NumberRange, default value: Double,
    unit: String? = nil,
    _ help: String
  ) -> Option {
    let spelled = value == value.rounded() && abs(value) < 1e6 ? "\(Int(value))" : "\(value)"
    return single(
      name, short: nil, valueName, default: value,
      notes: ["default \(spelled)" + (unit.map { " " + $0 } ?? ""), range.words],
      help: help
    ) { text throws(ValueProblem) in try range.value(text) }
  }
}

extension Option where Value == Double? {
  /// A number that may be left out.
  static func number(
    _ name: String, _ valueName: String = "X", in range: NumberRange, absence: String, _ help: String
  ) -> Option {
    single(name, short: nil, valueName, default: nil, notes: ["default \(absence)", range.words], help: help)
    {
      text throws(ValueProblem) in try range.value(text)
    }
  }
}

extension Option where Value == String? {
  /// A text that may be left out.
  static func text(
    _ name: String, short: Character? = nil, _ valueName: String, notes: String? = nil, _ help: String
  ) -> Option {
    single(name, short: short, valueName, default: nil, notes: [notes], help: help) {
      text throws(ValueProblem) in try nonempty(text)
    }
  }
}

extension Option where Value == String {
  /// A text that must be given.
  static func required(_ name: String, short: Character? = nil, _ valueName: String, _ help: String) -> Option
  {
    single(
      name, short: short, valueName, default: "", notes: ["required"], help: help, isRequired: true
    ) { text throws(ValueProblem) in try nonempty(text) }
  }
}

extension Option where Value == [String] {
  /// A text that may be given several times.
  static func texts(_ name: String, _ valueName: String, _ help: String) -> Option {
    let declaration = OptionDeclaration(
      name: name, short: nil, valueName: valueName, help: help, notes: "may be repeated", repeats: true,
      isRequired: false)
    return Option(declaration: declaration) { texts throws(ValueProblem) in
      for text in texts { _ = try nonempty(text) }
      return texts
    }
  }

  /// A list with commas between; empty when left out.
  static func list(_ name: String, _ valueName: String, absence: String, _ help: String) -> Option {
    single(name, short: nil, valueName, default: [], notes: ["default \(absence)"], help: help) {
      text throws(ValueProblem) in
      let parts = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
      guard !parts.contains("") else { throw ValueProblem(expected: "names with commas between") }
      return parts
    }
  }
}

extension Option where Value: CaseIterable & RawRepresentable<String> {
  /// One of the words of an enumeration.
  static func choice(_ name: String, _ valueName: String, default value: Value, _ help: String) -> Option {
    let words = Value.allCases.map(\.rawValue)
    return single(
      name, short: nil, valueName, default: value,
      notes: ["default \(value.rawValue)", words.joined(separator: ", ")],
      help: help
    ) { text throws(ValueProblem) in try choice(text) }
  }

  fileprivate static func choice(_ text: String) throws(ValueProblem) -> Value {
    guard let value = Value.allCases.first(where: { $0.rawValue == text }) else {
      let words = Value.allCases.map(\.rawValue)
      throw ValueProblem(
        expected: "one of \(words.joined(separator: ", "))." + NameSuggestion.question(for: text, in: words))
    }
    return value
  }
}

extension Option {
  /// One of the words of an enumeration, with a default that depends on other things.
  static func choice<Word: CaseIterable & RawRepresentable<String> & Sendable>(
    _ name: String, _ valueName: String, absence: String, _ help: String
  ) -> Option where Value == Word? {
    single(
      name, short: nil, valueName, default: nil,
      notes: ["default \(absence)", Word.allCases.map(\.rawValue).joined(separator: ", ")], help: help
    ) { text throws(ValueProblem) in try Option<Word>.choice(text) }
  }

  /// A value of any type that reads itself from text.
  static func custom(
    _ name: String, short: Character? = nil, _ valueName: String, default value: Value, notes: String,
    _ help: String,
    read: @escaping @Sendable (String) throws(ValueProblem) -> Value
  ) -> Option {
    single(name, short: short, valueName, default: value, notes: [notes], help: help, read: read)
  }

  /// The text, unless it is empty.
  fileprivate static func nonempty(_ text: String) throws(ValueProblem) -> String {
    if text.isEmpty { throw ValueProblem(expected: "something other than nothing") }
    return text
  }

  /// A range of whole numbers in words.
  fileprivate static func words(_ range: ClosedRange<Int>) -> String {
    range.upperBound == .max ? "\(range.lowerBound) or more" : "\(range.lowerBound) to \(range.upperBound)"
  }

  fileprivate static func integer(_ text: String, in range: ClosedRange<Int>) throws(ValueProblem) -> Int {
    guard let value = Int(text), range.contains(value) else {
      throw ValueProblem(expected: "a whole number, \(words(range))")
    }
    return value
  }
}

/// The numbers an option takes.
struct NumberRange: Sendable {
  /// In words, for help and messages.
  let words: String
  private let contains: @Sendable (Double) -> Bool

  private init(_ words: String, _ contains: @escaping @Sendable (Double) -> Bool) {
    self.words = words
    self.contains = contains
  }

  /// Ends included.
  static func closed(_ low: Int, _ high: Int) -> NumberRange {
    NumberRange("\(low) to \(high)") { Double(low) <= $0 && $0 <= Double(high) }
  }
  /// Above `low`, at most `high`.
  static func above(_ low: Int, atMost high: Int) -> NumberRange {
    NumberRange("above \(low), at most \(high)") { Double(low) < $0 && $0 <= Double(high) }
  }
  /// Between the ends, without them.
  static func between(_ low: Int, _ high: Int) -> NumberRange {
    NumberRange("between \(low) and \(high), without these") { Double(low) < $0 && $0 < Double(high) }
  }

  /// The lower end included, the upper not.
  static func from(_ low: Int, below high: Int) -> NumberRange {
    NumberRange("\(low) to \(high), without \(high)") { Double(low) <= $0 && $0 < Double(high) }
  }
  /// Ends included, the lower one small.
  static func atLeast(_ low: Double, atMost high: Int) -> NumberRange {
    NumberRange("\(low) to \(high)") { low <= $0 && $0 <= Double(high) }
  }

  /// The number that `text` spells.
  func value(_ text: String) throws(ValueProblem) -> Double {
    guard let value = Double(text), value.isFinite, contains(value) else {
      throw ValueProblem(expected: "a number, \(words)")
    }
    return value
  }
}
