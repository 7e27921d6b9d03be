import Foundation

/// Folders named by a path with stars, such as `runs/lora-*/eval`.
///
/// A star stands for any characters of one name, none included, but not for the dot that hides a name.
public struct FolderPattern: Equatable, Sendable {
  /// A folder that the pattern names.
  public struct Match: Equatable, Sendable {
    /// Its path, relative if the pattern is.
    public let path: String
    /// What the stars stand for, with a slash between several.
    public let stars: String
  }

  /// The pattern.
  public let path: String

  /// The pattern in a path; nil if it has no star, or is the name of something that exists.
  public init?(_ path: String) {
    guard path.utf8.contains(UInt8(ascii: "*")), !FileManager.default.fileExists(atPath: path) else {
      return nil
    }
    self.path = path
  }

  /// The folders, in the order of what their stars stand for: numbers within a name by their value, 2 before 10.
  public var matches: [Match] {
    var found = [(path: path.hasPrefix("/") ? "/" : "", stars: [String]())]
    for part in path.split(separator: "/") {
      found = found.flatMap { folder -> [(path: String, stars: [String])] in
        guard part.utf8.contains(UInt8(ascii: "*")) else {
          return [(folder.path + (Self.needsSlash(folder.path) ? "/" : "") + part, folder.stars)]
        }
        let names =
          (try? FileManager.default.contentsOfDirectory(atPath: folder.path.isEmpty ? "." : folder.path))
          ?? []
        return names.compactMap { name in
          guard !name.hasPrefix(".") || part.hasPrefix("."), let stars = Self.stars(part[...], name[...])
          else {
            return nil
          }
          return (folder.path + (Self.needsSlash(folder.path) ? "/" : "") + name, folder.stars + stars)
        }
      }
    }
    // A path that ends in a slash exists where it is a folder.
    return found.filter { FileManager.default.fileExists(atPath: $0.path + "/") }.map {
      Match(path: $0.path, stars: $0.stars.joined(separator: "/"))
    }
    .sorted { Self.precedes($0.stars, $1.stars) }
  }

  private static func needsSlash(_ path: String) -> Bool { !path.isEmpty && !path.hasSuffix("/") }

  /// What each star of a pattern stands for in a name, the first ones as short as can be; nil if the name is another.
  static func stars(_ pattern: Substring, _ name: Substring) -> [String]? {
    guard let star = pattern.firstIndex(of: "*") else { return pattern == name ? [] : nil }
    let head = pattern[..<star]
    guard name.hasPrefix(head) else { return nil }
    let rest = name.dropFirst(head.count)
    let tail = pattern[pattern.index(after: star)...]
    for length in 0...rest.count {
      if let others = stars(tail, rest.dropFirst(length)) { return [String(rest.prefix(length))] + others }
    }
    return nil
  }

  /// Whether a text stands before another: digits by their value, other bytes as they are.
  static func precedes(_ left: String, _ right: String) -> Bool {
    let (first, second) = (Array(left.utf8), Array(right.utf8))
    var (i, j) = (0, 0)
    func digits(_ bytes: [UInt8], _ start: Int) -> ArraySlice<UInt8> {
      let end = bytes[start...].firstIndex { !(0x30...0x39 ~= $0) } ?? bytes.count
      return bytes[start..<end]
    }
    while i < first.count && j < second.count {
      let (a, b) = (digits(first, i), digits(second, j))
      if !a.isEmpty && !b.isEmpty {
        let (x, y) = (Array(a.drop { $0 == 0x30 }), Array(b.drop { $0 == 0x30 }))
        if x != y { return x.count != y.count ? x.count < y.count : x.lexicographicallyPrecedes(y) }
        (i, j) = (a.endIndex, b.endIndex)
      } else {
        if first[i] != second[j] { return first[i] < second[j] }
        (i, j) = (i + 1, j + 1)
      }
    }
    if (i == first.count) != (j == second.count) { return i == first.count }
    return first.lexicographicallyPrecedes(second)
  }
}
