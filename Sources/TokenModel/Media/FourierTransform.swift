import Foundation
import TensorCore

/// The discrete Fourier transform of real values of a fixed length, in Float64.
///
///     X[k] = Σₙ x[n] exp(-2πi k n / N)
///
/// N is taken apart into its prime factors; a factor of 2 costs one butterfly, another prime p a transform of p points
/// by its definition, so lengths of small factors (400 = 2⁴ · 5²) are fast.
///
/// Source: Cooley and Tukey, "An Algorithm for the Machine Calculation of Complex Fourier Series", Mathematics of
/// Computation 19, 1965 (mixed radix, decimation in time).
struct FourierTransform: Sendable {
  /// N, at least 2.
  let length: Int
  /// The prime factors, the smallest first.
  private let factors: [Int]
  /// cos(2π k / N) and -sin(2π k / N), k below N.
  private let cosines: [Double]
  private let sines: [Double]
  /// Which value stands at each place before the first stage.
  private let order: [Int]

  init(length: Int) {
    require(length > 1, "a Fourier transform of length \(length)")
    self.length = length
    // Multiples of the angle are each computed afresh: products of roots would lose digits.
    cosines = (0..<length).map { cos(2 * Double.pi * Double($0) / Double(length)) }
    sines = (0..<length).map { -sin(2 * Double.pi * Double($0) / Double(length)) }
    var (factors, rest, factor): ([Int], Int, Int) = ([], length, 2)
    while rest > 1 {
      while rest % factor == 0 {
        factors.append(factor)
        rest /= factor
      }
      factor += 1
    }
    self.factors = factors
    order = factors.reduce([0]) { places, factor in
      (0..<factor).flatMap { first in places.map { $0 * factor + first } }
    }
  }

  /// |X[k]|² for k = 0...⌊N/2⌋.
  ///
  /// - Parameter values: N values.
  func power(_ values: [Double]) -> [Double] {
    require(values.count == length, "\(values.count) values for a transform of \(length)")
    var real = order.map { values[$0] }
    var imaginary = [Double](repeating: 0, count: length)
    var half = 1
    for factor in factors {
      if factor == 2 {
        pairs(&real, &imaginary, half: half)
      } else {
        groups(&real, &imaginary, half: half, factor: factor)
      }
      half *= factor
    }
    return (0...length / 2).map { real[$0] * real[$0] + imaginary[$0] * imaginary[$0] }
  }

  /// Joins transforms of `half` points in pairs.
  private func pairs(_ real: inout [Double], _ imaginary: inout [Double], half: Int) {
    let stride = length / (2 * half)
    for start in Swift.stride(from: 0, to: length, by: 2 * half) {
      for index in 0..<half {
        let (even, odd) = (start + index, start + index + half)
        let (cosine, sine) = (cosines[index * stride], sines[index * stride])
        let productReal = real[odd] * cosine - imaginary[odd] * sine
        let productImaginary = real[odd] * sine + imaginary[odd] * cosine
        (real[odd], imaginary[odd]) = (real[even] - productReal, imaginary[even] - productImaginary)
        (real[even], imaginary[even]) = (real[even] + productReal, imaginary[even] + productImaginary)
      }
    }
  }

  /// Joins transforms of `half` points in groups of `factor`.
  private func groups(_ real: inout [Double], _ imaginary: inout [Double], half: Int, factor: Int) {
    let stride = length / (factor * half)
    var parts = [(real: Double, imaginary: Double)](repeating: (0, 0), count: factor)
    for start in Swift.stride(from: 0, to: length, by: factor * half) {
      for index in 0..<half {
        for part in 0..<factor {
          let place = start + part * half + index
          let (cosine, sine) = (cosines[part * index * stride], sines[part * index * stride])
          parts[part] = (
            real[place] * cosine - imaginary[place] * sine, real[place] * sine + imaginary[place] * cosine
          )
        }
        for output in 0..<factor {
          var (sumReal, sumImaginary) = (0.0, 0.0)
          for part in 0..<factor {
            let root = part * output % factor * (length / factor)
            sumReal += parts[part].real * cosines[root] - parts[part].imaginary * sines[root]
            sumImaginary += parts[part].real * sines[root] + parts[part].imaginary * cosines[root]
          }
          let place = start + output * half + index
          (real[place], imaginary[place]) = (sumReal, sumImaginary)
        }
      }
    }
  }
}
