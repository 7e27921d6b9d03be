import Foundation

/// The standard normal distribution.
public enum Normal {
  /// The probability of a value of at most `z`: ½ erfc(−z / √2), exact also far out in the lower tail.
  public static func probability(below z: Double) -> Double {
    0.5 * erfc(-z / 2.0.squareRoot())
  }
}
