import Foundation
import TensorCore

/// The discrete Fourier transform of real values of a fixed length, in Float64.
///
///     X[k] = Σₙ x[n] exp(-2πi k n / N)
///
/// Source: Cooley and Tukey, "An Algorithm for the Machine Calculation of Complex Fourier Series", Mathematics of
/// Computation 19, 1965 (radix 2, decimation in time).
struct FourierTransform: Sendable {
  /// N, a power of two.
  let length: Int
  /// cos(2π k / N) and -sin(2π k / N), k below N / 2.
  private let cosines: [Double]
  private let sines: [Double]
  /// The place of each value after the bits of its index are reversed.
  private let reversed: [Int]

  init(length: Int) {
    require(length > 1 && length & (length - 1) == 0, "a Fourier transform of length \(length)")
    self.length = length
    // Multiples of the angle are each computed afresh: products of roots would lose digits.
    cosines = (0..<length / 2).map { cos(2 * Double.pi * Double($0) / Double(length)) }
    sines = (0..<length / 2).map { -sin(2 * Double.pi * Double($0) / Double(length)) }
    var reversed = [0]
    var step = length / 2
    while step > 0 {
      reversed += reversed.map { $0 + step }
      step /= 2
    }
    self.reversed = reversed
  }

  /// |X[k]|² for k = 0...N/2.
  ///
  /// - Parameter values: N values.
  func power(_ values: [Double]) -> [Double] {
    require(values.count == length, "\(values.count) values for a transform of \(length)")
    var real = reversed.map { values[$0] }
    var imaginary = [Double](repeating: 0, count: length)
    var half = 1
    while half < length {
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
      half *= 2
    }
    return (0...length / 2).map { real[$0] * real[$0] + imaginary[$0] * imaginary[$0] }
  }
}
