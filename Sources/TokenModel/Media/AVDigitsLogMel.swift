import Foundation

/// The log-mel features of AVDigits: what an `avt_llama` model takes as audio.
///
///     frame t = samples[128 t ..< 128 t + 256] · Hann window (periodic), then a DFT of 512 points
///     P[k] = |X[k]|²,  k = 0...256
///     E[m] = Σₖ P[k] · max(0, min((fₖ - eₘ) / (eₘ₊₁ - eₘ), (eₘ₊₂ - fₖ) / (eₘ₊₂ - eₘ₊₁)))
///     dB = 10 log₁₀(E + 1e-10);  u8 = floor(255 clip((dB + 70) / 100, 0, 1) + 0.5)
///
/// fₖ = sampleRate k / 512; the eₘ are `melCount + 2` points from 60 Hz to half the sample rate, equally spaced in
/// mel(f) = 2595 log₁₀(1 + f / 700). Samples after the last whole frame are not used; nothing is padded.
/// In Float64 every cell of the 30 published samples is exact.
///
/// Source: README of AVDigits, section "Features".
public struct AVDigitsLogMel: Sendable {
  /// Mel bins, 40.
  public static let melCount = 40
  /// Frames, 48.
  public static let frameCount = 48
  /// Samples a second, 8000.
  public static let sampleRate = 8000
  /// Samples a recording must have, 6400 (0.8 s).
  public static let sampleCount = 6400

  private static let (frameLength, hop, transformLength) = (256, 128, 512)
  private static let lowestFrequency = 60.0

  private let window: [Double]
  /// The first DFT bin of each mel filter and its weights.
  private let filters: [(start: Int, weights: [Double])]
  private let transform: FourierTransform

  /// Prepares the window, the filters and the transform.
  public init() {
    window = (0..<Self.frameLength).map {
      0.5 - 0.5 * cos(2 * Double.pi * Double($0) / Double(Self.frameLength))
    }
    filters = Self.melFilters()
    transform = FourierTransform(length: Self.transformLength)
  }

  /// The features of a recording.
  ///
  /// - Parameter samples: 6400 or more samples at 8 kHz, full scale 1; only the first 6272 count.
  /// - Returns: `[mel, frame]`, row-major, 40 × 48.
  func features(_ samples: [Double]) -> [UInt8] {
    var features = [UInt8](repeating: 0, count: Self.melCount * Self.frameCount)
    for frame in 0..<Self.frameCount {
      var windowed = [Double](repeating: 0, count: Self.transformLength)
      for index in 0..<Self.frameLength {
        windowed[index] = samples[frame * Self.hop + index] * window[index]
      }
      let power = transform.power(windowed)
      for (mel, filter) in filters.enumerated() {
        var energy = 0.0
        for (index, weight) in filter.weights.enumerated() { energy += power[filter.start + index] * weight }
        let share = min(max((10 * log10(energy + 1e-10) + 70) / 100, 0), 1)
        features[mel * Self.frameCount + frame] = UInt8((255 * share + 0.5).rounded(.down))
      }
    }
    return features
  }

  /// A recording as a medium of a model.
  ///
  /// - Parameters:
  ///   - shape: What the model takes, `[mel bins, frames]` or `[1, mel bins, frames]`.
  ///   - identity: What the recording is called in results.
  /// - Throws: `MediaError.unsupportedFormat` for a model with other features, `.wrongSampleRate`, `.wrongLength`.
  public func medium(_ wav: WAVFile, shape: [Int], identity: String) throws(MediaError) -> Medium {
    guard shape.suffix(2) == [Self.melCount, Self.frameCount], shape.dropLast(2).allSatisfy({ $0 == 1 })
    else {
      throw .unsupportedFormat(
        path: wav.path, found: "a model that takes audio of shape \(shape)",
        supported: "features of \(Self.melCount) mel bins and \(Self.frameCount) frames")
    }
    guard wav.sampleRate == Self.sampleRate else {
      throw .wrongSampleRate(path: wav.path, found: wav.sampleRate, expected: Self.sampleRate)
    }
    guard wav.samples.count == Self.sampleCount else {
      throw .wrongLength(path: wav.path, found: wav.samples.count, expected: Self.sampleCount)
    }
    return Medium(modality: .audio, shape: shape, bytes: features(wav.samples), identity: identity)
  }

  /// Triangles with peak 1, as the weights of the DFT bins where they are above 0.
  private static func melFilters() -> [(start: Int, weights: [Double])] {
    func mel(_ frequency: Double) -> Double { 2595 * log10(1 + frequency / 700) }
    func frequency(_ mel: Double) -> Double { 700 * (pow(10, mel / 2595) - 1) }
    let (lowest, highest) = (mel(lowestFrequency), mel(Double(sampleRate) / 2))
    let edges = (0..<melCount + 2).map {
      frequency(lowest + (highest - lowest) * Double($0) / Double(melCount + 1))
    }
    let binWidth = Double(sampleRate) / Double(transformLength)
    return (0..<melCount).map { mel in
      let (low, peak, high) = (edges[mel], edges[mel + 1], edges[mel + 2])
      let weights = (0...transformLength / 2).map { bin in
        let frequency = Double(bin) * binWidth
        return max(0, min((frequency - low) / (peak - low), (high - frequency) / (high - peak)))
      }
      // Every triangle is wider than two bins, so each has a weight above 0.
      let start = weights.firstIndex { $0 > 0 } ?? 0
      return (start, Array(weights[start...].prefix { $0 > 0 }))
    }
  }
}
