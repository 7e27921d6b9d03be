/// Comparing the options a run was made with to those of a command that would go on with it.
enum RunConfiguration {
  /// The options that differ, in the order of `stored`, then of `asked`.
  ///
  /// Values are compared by their JSON text, so `1` and `1.0` differ. Objects are compared member by member, lists whose
  /// elements have names likewise.
  ///
  /// - Parameter volatileKeys: Options that may differ, written as in `RunFolderError.Difference`; a key also stands
  ///   for all members below it.
  static func differences(
    stored: JSONObject, asked: JSONObject, ignoring volatileKeys: Set<String>
  ) -> [RunFolderError.Difference] {
    let (old, new) = (flattened(stored, ignoring: volatileKeys), flattened(asked, ignoring: volatileKeys))
    var differences: [RunFolderError.Difference] = []
    for member in old.members where new[member.key] != member.value {
      differences.append(.init(key: member.key, stored: member.value.text(), asked: new[member.key]?.text()))
    }
    for member in new.members where old[member.key] == nil {
      differences.append(.init(key: member.key, stored: nil, asked: member.value.text()))
    }
    return differences
  }

  private static func flattened(_ object: JSONObject, ignoring volatileKeys: Set<String>) -> JSONObject {
    var flat = JSONObject()
    func visit(_ object: JSONObject, prefix: String) {
      for (key, value) in object.members where !volatileKeys.contains(prefix + key) {
        if let members = value.objectValue, !members.members.isEmpty {
          visit(members, prefix: prefix + key + ".")
        } else if let named = named(value) {
          visit(named, prefix: prefix + key + ".")
        } else {
          flat[prefix + key] = value
        }
      }
    }
    visit(object, prefix: "")
    return flat
  }

  /// A list of objects with different names as one object.
  private static func named(_ value: JSONValue) -> JSONObject? {
    guard let elements = value.arrayValue, !elements.isEmpty else { return nil }
    var members = JSONObject()
    for element in elements {
      guard let name = element["name"]?.stringValue, members[name] == nil else { return nil }
      members[name] = element
    }
    return members
  }
}
