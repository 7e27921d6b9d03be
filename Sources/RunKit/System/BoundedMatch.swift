public import Foundation

/// What matching within a time found.
public enum BoundedMatch {
  /// The first match.
  case found(NSTextCheckingResult)
  /// There is none.
  case none
  /// The time was over first.
  case timedOut
}

extension NSRegularExpression {
  /// The first match, unless finding it takes too long: some patterns take a time that is exponential in the text.
  ///
  /// - Parameter seconds: After which the search is given up.
  public func firstMatch(in text: String, seconds: Double) -> BoundedMatch {
    var outcome = BoundedMatch.none
    let deadline = ProcessFacts.monotonicSeconds + seconds
    let whole = NSRange(text.startIndex..., in: text)
    unsafe enumerateMatches(in: text, options: .reportProgress, range: whole) { match, _, stop in
      if let match {
        outcome = .found(match)
      } else if ProcessFacts.monotonicSeconds > deadline {
        outcome = .timedOut
      } else {
        return
      }
      unsafe stop.pointee = true
    }
    return outcome
  }
}
