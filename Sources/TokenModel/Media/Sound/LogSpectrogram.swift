import Foundation
import TensorCore

/// The logarithm of the magnitudes of a short-time Fourier transform, as the CREMA-D experiments of OGM-GE take it.
///
///     x ← the recording, repeated three times, its first `seconds`, clipped to −1...1
///     S[k, t] = log(|X[k, t]| + 1e-7),  X[·, t] the DFT of samples [353 t − 256, 353 t + 256) · Hann window (periodic)
///
/// at 22.05 kHz with the samples mirrored at both ends (without repeating the first and the last one). Three seconds give
/// 257 frequencies and 188 frames. A recording shorter than a third of `seconds` gives fewer frames there; here it is
/// repeated until it is long enough.
///
/// Source: the data set classes of OGM-GE (Peng et al., CVPR 2022, arXiv:2203.15332) over `librosa.stft`, whose versions
/// before 0.10 mirror at the ends.
public struct LogSpectrogram: Sendable {
  /// Samples a second, 22050.
  public static let sampleRate = 22_050
  /// Frequencies, 257.
  public static let binCount = transformLength / 2 + 1
  private static let (transformLength, hop) = (512, 353)

  private let window: [Double]
  private let transform = FourierTransform(length: Self.transformLength)
  private let sampleCount: Int

  /// - Parameter seconds: The length that every recording is brought to, above 0.1.
  public init(seconds: Double) {
    require(seconds >= 0.1, "a spectrogram of \(seconds) s")
    sampleCount = Int(seconds * Double(Self.sampleRate))
    window = (0..<Self.transformLength).map {
      0.5 - 0.5 * cos(2 * Double.pi * Double($0) / Double(Self.transformLength))
    }
  }

  /// Frames of the result.
  public var frameCount: Int { 1 + sampleCount / Self.hop }

  /// S, `[257, frames]`, row-major.
  ///
  /// - Parameter samples: At 22.05 kHz, full scale 1; at least one.
  public func features(_ samples: [Double]) -> [Float] {
    require(!samples.isEmpty, "a spectrogram of no samples")
    let sound = (0..<sampleCount).map { min(1, max(-1, samples[$0 % samples.count])) }
    let frames = frameCount
    var values = [Float](repeating: 0, count: Self.binCount * frames)
    var windowed = [Double](repeating: 0, count: Self.transformLength)
    for frame in 0..<frames {
      let start = frame * Self.hop - Self.transformLength / 2
      for index in 0..<Self.transformLength {
        var place = abs(start + index)
        if place >= sampleCount { place = 2 * (sampleCount - 1) - place }
        windowed[index] = sound[place] * window[index]
      }
      for (bin, power) in transform.power(windowed).enumerated() {
        values[bin * frames + frame] = Float(log(power.squareRoot() + 1e-7))
      }
    }
    return values
  }
}
