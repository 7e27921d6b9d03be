/// Finds what a user may have meant by an unknown name.
public enum NameSuggestion {
  /// The candidate nearest to `name`, or nil if none is near enough to suggest.
  ///
  /// Near means: a few edits away (one for each three letters, at least one), or an abbreviation, that is the
  /// same first letter and all letters of `name` in order, as `attn` for `attention`. Fewer edits win, then the
  /// earlier candidate.
  public static func nearest(to name: String, in candidates: [String]) -> String? {
    let typed = Array(name.lowercased().unicodeScalars)
    if typed.isEmpty { return nil }
    var best: (candidate: String, distance: Int)?
    for candidate in candidates {
      let letters = Array(candidate.lowercased().unicodeScalars)
      let distance = editDistance(typed, letters)
      let isNear = distance <= max(1, min(typed.count, letters.count) / 3)
      guard isNear || isAbbreviation(typed, of: letters) else { continue }
      if best.map({ distance < $0.distance }) ?? true { best = (candidate, distance) }
    }
    return best?.candidate
  }

  /// " Did you mean 'x'?" for the nearest candidate, or nothing.
  public static func question(for name: String, in candidates: [String]) -> String {
    nearest(to: name, in: candidates).map { " Did you mean '\($0)'?" } ?? ""
  }

  /// Insertions, deletions, substitutions and swaps of neighbours that lead from one text to the other.
  static func editDistance(_ left: [Unicode.Scalar], _ right: [Unicode.Scalar]) -> Int {
    var beforePrevious: [Int] = []
    var previous = Array(0...right.count)
    for i in 0..<left.count {
      var row = [i + 1]
      row.reserveCapacity(right.count + 1)
      for j in 0..<right.count {
        var distance = min(previous[j + 1] + 1, row[j] + 1, previous[j] + (left[i] == right[j] ? 0 : 1))
        if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] {
          distance = min(distance, beforePrevious[j - 1] + 1)
        }
        row.append(distance)
      }
      (beforePrevious, previous) = (previous, row)
    }
    return previous[right.count]
  }

  private static func isAbbreviation(_ typed: [Unicode.Scalar], of letters: [Unicode.Scalar]) -> Bool {
    guard typed.count >= 2, typed.first == letters.first else { return false }
    var position = 0
    for letter in letters where position < typed.count && letter == typed[position] { position += 1 }
    return position == typed.count
  }
}
