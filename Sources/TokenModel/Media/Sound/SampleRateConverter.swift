import Foundation

/// Changes the sample rate of sound with a windowed sinc, one filter for each phase.
///
///     y[n] = Σₖ x[k] h(n M / L - k),  h(t) = c sinc(c t) · Kaiser(t / width)
///
/// L / M is the ratio of the rates in lowest terms and c = 0.9476 min(1, L / M), which keeps what the lower rate cannot
/// carry out of the result; the filter reaches over 64 zeros of the sinc to either side (Kaiser window, β = 14.7697,
/// stopband below -120 dB). Every phase is scaled to the sum 1, so silence and constants stay what they are. Nothing is
/// delayed, and beyond the ends there is silence.
///
/// Source: Smith, "Digital Audio Resampling Home Page", CCRMA, 2002; the constants are those of the filter "kaiser_best"
/// of the resampy library.
struct SampleRateConverter {
  /// L: samples after for `step` samples before.
  let phaseCount: Int
  /// M.
  let step: Int
  /// The first sample that counts, relative to the place of an output, for each phase.
  private let starts: [Int]
  private let filters: [[Double]]

  private static let (zeroCount, cutoff, beta) = (64.0, 0.9475937167399596, 14.769656459379492)
  /// The most numbers of all filters together, 64 MB.
  private static let sizeLimit = 1 << 23

  /// nil for rates whose ratio needs too many filters.
  init?(from source: Int, to target: Int) {
    var (divisor, rest) = (source, target)
    while rest != 0 { (divisor, rest) = (rest, divisor % rest) }
    (phaseCount, step) = (target / divisor, source / divisor)
    let scale = min(1, Double(target) / Double(source))
    let reach = Self.zeroCount / scale
    guard Double(phaseCount) * (2 * reach + 2) <= Double(Self.sizeLimit) else { return nil }
    var (starts, filters): ([Int], [[Double]]) = ([], [])
    for phase in 0..<phaseCount {
      // The place of the output between two inputs, as a fraction of their distance.
      let place = Double(phase * step % phaseCount) / Double(phaseCount)
      let first = Int((place - reach).rounded(.up))
      let last = Int((place + reach).rounded(.down))
      let weights = (first...last).map { Self.kernel((Double($0) - place) * scale) }
      let sum = weights.reduce(0, +)
      starts.append(first)
      filters.append(weights.map { $0 / sum })
    }
    (self.starts, self.filters) = (starts, filters)
  }

  /// The sound at the other rate.
  func convert(_ samples: [Double]) -> [Double] {
    let count = (samples.count * phaseCount + step - 1) / step
    return (0..<count).map { index in
      let (place, phase) = (index * step / phaseCount, index % phaseCount)
      let start = place + starts[phase]
      let filter = filters[phase]
      var sum = 0.0
      for tap in max(0, -start)..<max(max(0, -start), min(filter.count, samples.count - start)) {
        sum += samples[start + tap] * filter[tap]
      }
      return sum
    }
  }

  /// The filter at a distance in samples of the lower rate.
  private static func kernel(_ distance: Double) -> Double {
    let x = cutoff * distance * Double.pi
    let sinc = x == 0 ? 1 : sin(x) / x
    let edge = distance / zeroCount
    return sinc * bessel(beta * max(0, 1 - edge * edge).squareRoot()) / bessel(beta)
  }

  /// The modified Bessel function of the first kind and order 0, by its power series.
  private static func bessel(_ x: Double) -> Double {
    var (sum, term, index) = (1.0, 1.0, 1.0)
    while term > sum * 1e-17 {
      term *= (x / 2 / index) * (x / 2 / index)
      sum += term
      index += 1
    }
    return sum
  }
}
