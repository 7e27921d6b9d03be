/// An estimate with the bounds that hold the true value at a stated confidence.
public struct ConfidenceInterval: Equatable, Sendable {
  /// The value computed from the whole sample.
  public let estimate: Double
  /// The lower bound.
  public let lower: Double
  /// The upper bound.
  public let upper: Double
  /// The share of samples whose interval holds the true value, such as 0.95.
  public let confidence: Double

  /// An interval with these bounds.
  public init(estimate: Double, lower: Double, upper: Double, confidence: Double) {
    self.estimate = estimate
    self.lower = lower
    self.upper = upper
    self.confidence = confidence
  }
}
