public import RunKit

/// A JSON Schema (draft 2020-12), limited to the keywords the schemas of this project use.
///
/// A keyword it does not know is an error when the schema is read, so that no rule is passed over in silence.
public struct JSONSchema {
  /// Why a schema cannot be used.
  public enum SchemaError: Error, Equatable {
    case unknownKeyword(String, at: String)
    case malformed(String, at: String)
    case missingDefinition(String)
  }

  private static let annotations: Set<String> = ["$schema", "$id", "title", "description", "$defs"]
  private static let keywords: Set<String> = [
    "$ref", "type", "properties", "required", "additionalProperties", "items", "minItems", "maxItems",
    "uniqueItems",
    "const", "enum", "minimum", "exclusiveMinimum", "exclusiveMaximum", "pattern",
  ]

  private let root: JSONValue

  /// Reads a schema and checks every keyword of every part.
  public init(_ schema: JSONValue) throws {
    root = schema
    try check(schema, at: "#")
  }

  private func check(_ schema: JSONValue, at path: String) throws {
    if schema.boolValue != nil { return }
    guard let object = schema.objectValue else { throw SchemaError.malformed("not an object", at: path) }
    for (key, value) in object.members {
      let place = "\(path)/\(key)"
      switch key {
      case "properties", "$defs":
        for (name, part) in value.objectValue?.members ?? [] { try check(part, at: "\(place)/\(name)") }
      case "items", "additionalProperties": try check(value, at: place)
      case "$ref": _ = try definition(value)
      case "pattern":
        guard let text = value.stringValue, (try? Regex(text)) != nil else {
          throw SchemaError.malformed("not a pattern", at: place)
        }
      default:
        guard Self.keywords.contains(key) || Self.annotations.contains(key) else {
          throw SchemaError.unknownKeyword(key, at: path)
        }
      }
    }
  }

  private func definition(_ reference: JSONValue) throws -> JSONValue {
    let text = reference.stringValue ?? ""
    let prefix = "#/$defs/"
    guard text.hasPrefix(prefix), let part = root["$defs"]?[String(text.dropFirst(prefix.count))] else {
      throw SchemaError.missingDefinition(text)
    }
    return part
  }

  /// What is wrong with a document, each with its path; empty if it is valid.
  public func violations(in document: JSONValue) throws -> [String] {
    var found: [String] = []
    try validate(document, against: root, at: "", into: &found)
    return found
  }

  private func validate(
    _ value: JSONValue, against schema: JSONValue, at path: String, into found: inout [String]
  ) throws {
    if let allowed = schema.boolValue {
      if !allowed { found.append("\(path): not allowed") }
      return
    }
    guard let rules = schema.objectValue else { throw SchemaError.malformed("not an object", at: path) }
    for (key, rule) in rules.members {
      switch key {
      case "$ref": try validate(value, against: definition(rule), at: path, into: &found)
      case "type":
        let names = rule.arrayValue?.compactMap(\.stringValue) ?? [rule.stringValue ?? ""]
        if !names.contains(where: { Self.matches(value, $0) }) {
          found.append("\(path): \(value.kind), not \(names)")
        }
      case "const": if value != rule { found.append("\(path): not \(rule.text())") }
      case "enum":
        if !(rule.arrayValue ?? []).contains(value) {
          found.append("\(path): \(value.text()) not in \(rule.text())")
        }
      case "minimum", "exclusiveMinimum", "exclusiveMaximum":
        if let number = value.doubleValue, let bound = rule.doubleValue,
          !(key == "minimum" ? number >= bound : key == "exclusiveMinimum" ? number > bound : number < bound)
        {
          found.append("\(path): \(number) breaks \(key) \(bound)")
        }
      case "pattern":
        if let text = value.stringValue, try Regex(rule.stringValue ?? "").firstMatch(in: text) == nil {
          found.append("\(path): \"\(text)\" does not match \(rule.text())")
        }
      default: break
      }
    }
    if let object = value.objectValue { try validateMembers(of: object, rules, at: path, into: &found) }
    if let array = value.arrayValue { try validateElements(of: array, rules, at: path, into: &found) }
  }

  private func validateMembers(
    of object: JSONObject, _ rules: JSONObject, at path: String, into found: inout [String]
  ) throws {
    for name in rules["required"]?.arrayValue?.compactMap(\.stringValue) ?? [] where object[name] == nil {
      found.append("\(path)/\(name): missing")
    }
    for (name, member) in object.members {
      let place = "\(path)/\(name)"
      if let schema = rules["properties"]?[name] {
        try validate(member, against: schema, at: place, into: &found)
      } else if let schema = rules["additionalProperties"] {
        try validate(member, against: schema, at: place, into: &found)
      }
    }
  }

  private func validateElements(
    of array: [JSONValue], _ rules: JSONObject, at path: String, into found: inout [String]
  ) throws {
    if let least = rules["minItems"]?.intValue, array.count < least {
      found.append("\(path): fewer than \(least)")
    }
    if let most = rules["maxItems"]?.intValue, array.count > most {
      found.append("\(path): more than \(most)")
    }
    if rules["uniqueItems"] == true, Set(array.map { $0.text() }).count < array.count {
      found.append("\(path): an element stands twice")
    }
    guard let schema = rules["items"] else { return }
    for (index, element) in array.enumerated() {
      try validate(element, against: schema, at: "\(path)/\(index)", into: &found)
    }
  }

  private static func matches(_ value: JSONValue, _ type: String) -> Bool {
    switch type {
    case "null": value.isNull
    case "boolean": value.boolValue != nil
    case "integer": value.intValue != nil
    case "number": value.doubleValue != nil
    case "string": value.stringValue != nil
    case "array": value.arrayValue != nil
    case "object": value.objectValue != nil
    default: false
    }
  }
}
