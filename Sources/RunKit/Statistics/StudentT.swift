import Foundation

/// Student's t distribution.
public enum StudentT {
  /// The interval of a mean for independent, roughly normal samples:
  ///
  ///     mean ± t(1 − α/2, n − 1) · s / √n
  ///
  /// - Returns: nil for fewer than two samples or moments that are not finite.
  public static func interval(
    of moments: StreamingMoments, confidence: Double = 0.95
  ) -> ConfidenceInterval? {
    precondition(confidence > 0 && confidence < 1, "the confidence \(confidence) is not between 0 and 1")
    guard let error = moments.standardError, error.isFinite, moments.mean.isFinite else { return nil }
    let reach = quantile((1 + confidence) / 2, degreesOfFreedom: Double(moments.count - 1)) * error
    return ConfidenceInterval(
      estimate: moments.mean, lower: moments.mean - reach, upper: moments.mean + reach,
      confidence: confidence)
  }

  /// The probability of a value of at most `t`.
  ///
  ///     1 − ½ I(ν / (ν + t²); ν/2, 1/2)   for t ≥ 0
  ///
  /// with I the regularised incomplete beta function.
  ///
  /// - Parameter degreesOfFreedom: ν, above 0.
  public static func probability(below t: Double, degreesOfFreedom: Double) -> Double {
    if t == 0 { return 0.5 }
    // Of the two equal forms the one whose argument is small keeps its digits.
    let square = t * t
    let tail =
      square < degreesOfFreedom
      ? 1 - incompleteBeta(square / (degreesOfFreedom + square), 0.5, degreesOfFreedom / 2)
      : incompleteBeta(degreesOfFreedom / (degreesOfFreedom + square), degreesOfFreedom / 2, 0.5)
    return t > 0 ? 1 - tail / 2 : tail / 2
  }

  /// The value below which a share `probability` of the distribution lies; found by halving to the last digits.
  ///
  /// - Parameters:
  ///   - probability: Above 0 and below 1.
  ///   - degreesOfFreedom: ν, above 0.
  public static func quantile(_ probability: Double, degreesOfFreedom: Double) -> Double {
    precondition(probability > 0 && probability < 1, "the probability \(probability) is not between 0 and 1")
    precondition(degreesOfFreedom > 0, "\(degreesOfFreedom) degrees of freedom")
    if probability == 0.5 { return 0 }
    if probability < 0.5 { return -quantile(1 - probability, degreesOfFreedom: degreesOfFreedom) }
    var (low, high) = (0.0, 1.0)
    while self.probability(below: high, degreesOfFreedom: degreesOfFreedom) < probability, high < 1e300 {
      (low, high) = (high, high * 2)
    }
    for _ in 0..<200 {
      let middle = low + (high - low) / 2
      if middle <= low || middle >= high { break }
      if self.probability(below: middle, degreesOfFreedom: degreesOfFreedom) < probability {
        low = middle
      } else {
        high = middle
      }
    }
    return high
  }

  /// The regularised incomplete beta function I(x; a, b), by its continued fraction.
  ///
  /// Source: Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, equation 26.5.8, evaluated by the
  /// method of Lentz, "Generating Bessel Functions in Mie Scattering Calculations Using Continued Fractions",
  /// Applied Optics 15(3), 1976.
  private static func incompleteBeta(_ x: Double, _ a: Double, _ b: Double) -> Double {
    if x <= 0 { return 0 }
    if x >= 1 { return 1 }
    // The fraction converges fast below the mean of the distribution; above it the mirror image does.
    if x > (a + 1) / (a + b + 2) { return 1 - incompleteBeta(1 - x, b, a) }
    let logFront = lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)
    let tiny = 1e-300
    var ratio = 1.0
    var denominator = 1 / max(tiny, 1 - (a + b) * x / (a + 1))
    var fraction = denominator
    for step in 1...10_000 {
      let m = Double(step)
      let even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
      denominator = 1 / nonzero(1 + even * denominator, tiny)
      ratio = nonzero(1 + even / ratio, tiny)
      fraction *= denominator * ratio
      let odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
      denominator = 1 / nonzero(1 + odd * denominator, tiny)
      ratio = nonzero(1 + odd / ratio, tiny)
      let factor = denominator * ratio
      fraction *= factor
      if abs(factor - 1) < 1e-15 { break }
    }
    return exp(logFront) * fraction / a
  }

  private static func nonzero(_ value: Double, _ tiny: Double) -> Double {
    abs(value) < tiny ? tiny : value
  }
}
