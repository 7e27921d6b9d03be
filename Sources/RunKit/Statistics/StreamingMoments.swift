/// Count, mean, spread and range of numbers that are seen once.
///
///     δ = x − mean;   mean ← mean + δ / n;   M₂ ← M₂ + δ · (x − mean)
///
/// Source: Welford, "Note on a Method for Calculating Corrected Sums of Squares and Products", Technometrics
/// 4(3), 1962; merging by Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing
/// Sample Variances", 1979.
public struct StreamingMoments: Equatable, Sendable {
  /// How many numbers were added, n.
  public private(set) var count = 0
  /// Their mean; 0 while there are none.
  public private(set) var mean = 0.0
  /// M₂, the sum of squared distances from the mean.
  public private(set) var sumOfSquares = 0.0
  /// The least; infinite while there are none.
  public private(set) var minimum = Double.infinity
  /// The greatest; minus infinity while there are none.
  public private(set) var maximum = -Double.infinity

  /// No numbers yet.
  public init() {}

  /// The moments of these numbers.
  public init(_ values: some Sequence<Double>) {
    for value in values { add(value) }
  }

  /// Moments that were stored.
  public init(count: Int, mean: Double, sumOfSquares: Double, minimum: Double, maximum: Double) {
    self.count = count
    self.mean = mean
    self.sumOfSquares = sumOfSquares
    self.minimum = minimum
    self.maximum = maximum
  }

  /// Adds a number. One that is not finite makes all later figures so.
  public mutating func add(_ value: Double) {
    count += 1
    let delta = value - mean
    mean += delta / Double(count)
    sumOfSquares += delta * (value - mean)
    minimum = Swift.min(minimum, value)
    maximum = Swift.max(maximum, value)
  }

  /// Adds the numbers behind other moments.
  ///
  ///     δ = mean_b − mean_a;   mean ← mean_a + δ · n_b / n;   M₂ ← M₂a + M₂b + δ² · n_a n_b / n
  public mutating func merge(_ other: StreamingMoments) {
    if other.count == 0 { return }
    if count == 0 {
      self = other
      return
    }
    let (own, added) = (Double(count), Double(other.count))
    let delta = other.mean - mean
    count += other.count
    mean += delta * (added / (own + added))
    sumOfSquares += other.sumOfSquares + delta * delta * (own * added / (own + added))
    minimum = Swift.min(minimum, other.minimum)
    maximum = Swift.max(maximum, other.maximum)
  }

  /// M₂ / (n − 1), or nil for fewer than two numbers.
  public var sampleVariance: Double? { count > 1 ? sumOfSquares / Double(count - 1) : nil }

  /// The root of the sample variance, or nil for fewer than two numbers.
  public var sampleStandardDeviation: Double? { sampleVariance.map { $0.squareRoot() } }

  /// The standard deviation of the mean, s / √n, or nil for fewer than two numbers.
  public var standardError: Double? { sampleVariance.map { ($0 / Double(count)).squareRoot() } }
}
