import Foundation
import RunKit
import TokenModel

/// Which modules of a model an adapter stands around, by the rules of PEFT.
///
/// - A text is a regular expression that a whole name must match, or `all-linear` for every linear layer but the last.
/// - Words of a list match the name itself or its end behind a dot; only then `layers_to_transform` counts, which
///   restricts the first number in the name, behind one of the `layers_pattern` if there are any.
/// - `exclude_modules` are rules of the same kind; modules that are saved whole are never adapted.
public struct ModuleSelection: Sendable, Equatable {
  /// A rule for names.
  public enum Rule: Sendable, Equatable {
    /// A regular expression for the whole name.
    case pattern(String)
    /// Names or their ends.
    case names([String])
    /// Every linear layer but the last.
    case allLinear

    /// In words, for messages.
    public var text: String {
      switch self {
      case .pattern(let pattern): pattern
      case .names(let names): names.joined(separator: ", ")
      case .allLinear: "all-linear"
      }
    }
  }

  /// What is adapted.
  public var targets: Rule
  /// What is not, though it is a target.
  public var exclusions: Rule?
  /// The layers, where targets are names; nil for all.
  public var layers: [Int]?
  /// What stands before the number of a layer; any word if empty.
  public var layerPatterns: [String] = []

  /// A selection of all layers.
  public init(_ targets: Rule) { self.targets = targets }
}

/// Applies a selection to names.
struct ModuleMatcher {
  private let selection: ModuleSelection
  private let targets: PythonPattern?
  private let exclusions: PythonPattern?
  private let layerNumbers: [PythonPattern]
  private let saved: [PythonPattern]

  /// - Parameter path: For messages.
  /// - Throws: `AdapterError.badPattern`.
  init(_ configuration: AdapterConfiguration, path: String) throws(AdapterError) {
    selection = configuration.selection
    targets = try Self.pattern(of: selection.targets, path: path, key: "target_modules")
    exclusions = try selection.exclusions.flatMap { rule throws(AdapterError) in
      try Self.pattern(of: rule, path: path, key: "exclude_modules")
    }
    var numbers: [PythonPattern] = []
    for pattern in selection.layerPatterns {
      numbers.append(
        try PythonPattern(
          pattern, before: "(?:^|.*?\\.)", after: "\\.(\\d+)\\..*", path: path, key: "layers_pattern"))
    }
    if numbers.isEmpty {
      numbers = [try PythonPattern(".*?\\.[^.]*\\.(\\d+)\\..*", path: path, key: "layers_pattern")]
    }
    layerNumbers = numbers
    var saved: [PythonPattern] = []
    for name in configuration.savedModules {
      saved.append(
        try PythonPattern(name, before: "(^|.*\\.)", after: "($|\\..*)", path: path, key: "modules_to_save"))
    }
    self.saved = saved
  }

  private static func pattern(
    of rule: ModuleSelection.Rule, path: String, key: String
  ) throws(AdapterError) -> PythonPattern? {
    guard case .pattern(let text) = rule else { return nil }
    return try PythonPattern(text, path: path, key: key)
  }

  /// Whether a layer is adapted, by any of the names it is known by.
  ///
  /// - Throws: `AdapterError.slowPattern`.
  func selects(_ site: LinearSite) throws(AdapterError) -> Bool {
    for name in site.layout.moduleNames(of: site.name) {
      if try selects(name, isLast: site.name == "lm_head") { return true }
    }
    return false
  }

  private func selects(_ name: String, isLast: Bool) throws(AdapterError) -> Bool {
    if let rule = selection.exclusions, try matches(name, rule, exclusions) { return false }
    for pattern in saved { if try pattern.matches(name) { return false } }
    switch selection.targets {
    case .allLinear: return !isLast
    case .pattern: return try matches(name, selection.targets, targets)
    case .names(let names):
      guard try matches(name, selection.targets, targets) else { return false }
      guard let layers = selection.layers, !layers.isEmpty, !names.contains(name) else { return true }
      for pattern in layerNumbers {
        if let number = try pattern.number(in: name) { return layers.contains(number) }
      }
      return false
    }
  }

  private func matches(_ name: String, _ rule: ModuleSelection.Rule, _ pattern: PythonPattern?)
    throws(AdapterError) -> Bool
  {
    switch rule {
    case .allLinear: true
    case .pattern: try pattern?.matches(name) ?? false
    case .names(let names): names.contains { name == $0 || name.hasSuffix(".\($0)") }
    }
  }
}

/// A regular expression as Python's `re.fullmatch` applies it to the name of a module.
///
/// Some patterns take exponential time, and patterns come from files: matching a name is given up after a tenth of a second.
struct PythonPattern {
  private let expression: NSRegularExpression
  private let text: String
  private let place: (path: String, key: String)
  private static let lengthLimit = 1 << 14
  /// The library of regular expressions gives up by itself after some thirty million steps, half a second on a fast
  /// processor, and then says that nothing matches: this limit has to come first.
  private static let secondsLimit = 0.1

  /// - Parameters:
  ///   - before: A pattern that stands before the text.
  ///   - after: A pattern that stands behind it.
  /// - Throws: `AdapterError.badPattern`.
  init(_ text: String, before: String = "", after: String = "", path: String, key: String)
    throws(AdapterError)
  {
    // By itself first, so that a parenthesis that closes too much is found.
    guard text.utf8.count <= Self.lengthLimit, (try? NSRegularExpression(pattern: text)) != nil,
      let expression = try? NSRegularExpression(pattern: "\\A(?:\(before)\(text)\(after))\\z")
    else { throw .badPattern(path: path, key: key, pattern: text) }
    (self.expression, self.text, place) = (expression, text, (path, key))
  }

  private func result(_ name: String) throws(AdapterError) -> NSTextCheckingResult? {
    switch expression.firstMatch(in: name, seconds: Self.secondsLimit) {
    case .found(let result): return result
    case .none: return nil
    case .timedOut: throw .slowPattern(path: place.path, key: place.key, pattern: text, name: name)
    }
  }

  /// Whether the whole name matches.
  func matches(_ name: String) throws(AdapterError) -> Bool { try result(name) != nil }

  /// The number that the last group of a match holds.
  func number(in name: String) throws(AdapterError) -> Int? {
    guard let result = try result(name), result.numberOfRanges > 1,
      let range = Range(result.range(at: result.numberOfRanges - 1), in: name)
    else { return nil }
    return Int(name[range])
  }
}
