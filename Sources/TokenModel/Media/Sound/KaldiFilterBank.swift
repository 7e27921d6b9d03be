import Foundation
import TensorCore

/// Logarithms of mel energies as Kaldi computes them, and as audio networks trained on AudioSet take them.
///
/// A frame of 25 ms every 10 ms, whole frames only:
///
///     x ← x − mean of the recording
///     f ← f − mean of the frame;  f[n] ← f[n] − 0.97 f[n − 1]  (f[−1] = f[0]);  f ← f · Hann window (symmetric)
///     E[m] = Σₖ F[k, m] |X[k]|²,  X a DFT of 512 points;  y = log(max(E, ε)),  ε = 2⁻²³
///
/// F are 128 triangles between points equally spaced in mel(f) = 1127 ln(1 + f / 700) from 20 Hz to half the rate; slopes
/// are straight in mel, not in Hz. For networks, zeros follow up to a number of frames (or the rest is cut), then
///
///     y ← (y + 4.503877) / (2 · 5.141276)
///
/// In Float64; the recipe's own Float32 differs by rounding (1e-3 of a value near ε, 1e-5 elsewhere).
///
/// Source: `torchaudio.compliance.kaldi.fbank` with `htk_compat`, `window_type="hanning"`, `num_mel_bins=128`,
/// `dither=0`, `frame_shift=10`, as the preprocessing of OGM-GE (Peng et al., CVPR 2022, arXiv:2203.15332) calls it after
/// Gong et al., "AST: Audio Spectrogram Transformer", Interspeech 2021, arXiv:2104.01778.
public struct KaldiFilterBank: Sendable {
  /// Samples a second, 16000.
  public static let sampleRate = 16_000
  /// Mel bands, 128.
  public static let bandCount = 128
  /// The mean of AudioSet that is taken off, and the deviation of which the result is divided by the double.
  public static let (mean, deviation) = (-4.503877, 5.141276)

  private static let (frameLength, hop, transformLength) = (400, 160, 512)
  private static let lowestFrequency = 20.0
  private static let preemphasis = 0.97
  /// 2⁻²³, the ε of Float32.
  private static let floor = 0x1p-23

  private let window: [Double]
  private let filters: [(start: Int, weights: [Double])]
  private let transform = FourierTransform(length: Self.transformLength)

  /// Prepares the window and the filters.
  public init() {
    window = (0..<Self.frameLength).map {
      0.5 - 0.5 * cos(2 * Double.pi * Double($0) / Double(Self.frameLength - 1))
    }
    filters = Self.melFilters()
  }

  /// What networks take, `[frames, 128]`, row-major.
  ///
  /// - Parameters:
  ///   - samples: At 16 kHz, full scale 1.
  ///   - frames: Rows of the result.
  public func features(_ samples: [Double], frames: Int) -> [Float] {
    let rows = logEnergies(samples, frames: frames)
    var values: [Float] = []
    values.reserveCapacity(frames * Self.bandCount)
    for row in rows {
      for value in row { values.append(Float((value - Self.mean) / (2 * Self.deviation))) }
    }
    let silence = Float(-Self.mean / (2 * Self.deviation))
    values += repeatElement(silence, count: frames * Self.bandCount - values.count)
    return values
  }

  /// y before padding and normalisation, a row of 128 for each of the first whole frames.
  func logEnergies(_ samples: [Double], frames: Int) -> [[Double]] {
    guard samples.count >= Self.frameLength else { return [] }
    let mean = samples.reduce(0, +) / Double(samples.count)
    let count = min(frames, (samples.count - Self.frameLength) / Self.hop + 1)
    return (0..<count).map { frame in
      let start = frame * Self.hop
      return row(samples[start..<start + Self.frameLength].map { $0 - mean })
    }
  }

  private func row(_ samples: [Double]) -> [Double] {
    let mean = samples.reduce(0, +) / Double(samples.count)
    var frame = [Double](repeating: 0, count: Self.transformLength)
    for index in samples.indices {
      let before = samples[max(0, index - 1)] - mean
      frame[index] = (samples[index] - mean - Self.preemphasis * before) * window[index]
    }
    let power = transform.power(frame)
    return filters.map { filter in
      var energy = 0.0
      for (index, weight) in filter.weights.enumerated() { energy += power[filter.start + index] * weight }
      return log(max(energy, Self.floor))
    }
  }

  private static func melFilters() -> [(start: Int, weights: [Double])] {
    func mel(_ frequency: Double) -> Double { 1127 * log(1 + frequency / 700) }
    let lowest = mel(lowestFrequency)
    let step = (mel(Double(sampleRate) / 2) - lowest) / Double(bandCount + 1)
    let binWidth = Double(sampleRate) / Double(transformLength)
    return (0..<bandCount).map { band in
      let low = lowest + Double(band) * step
      // The bin of half the rate belongs to no filter.
      let weights = (0..<transformLength / 2).map { bin in
        let place = mel(Double(bin) * binWidth)
        return max(0, min((place - low) / step, (low + 2 * step - place) / step))
      }
      // The narrowest filters lie between two bins and have no weight: their energy is ε.
      let start = weights.firstIndex { $0 > 0 } ?? 0
      return (start, Array(weights[start...].prefix { $0 > 0 }))
    }
  }
}
