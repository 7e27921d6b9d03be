import Foundation
import TensorCore

/// Energies of mel bands over time, in Float64.
///
///     S[m, t] = Σₖ F[k, m] |X[k, t]|²,  X[·, t] the transform of samples [t h - N/2, t h + N/2) · Hann window (periodic)
///
/// with the samples mirrored at both ends (without repeating the first and the last one).
///
/// Source: `spectrogram` and `mel_filter_bank` of the transformers library (audio_utils.py).
struct MelSpectrogram: Sendable {
  /// How frequencies become mel.
  enum Scale: Sendable {
    /// 2595 log₁₀(1 + f / 700).
    case htk
    /// Linear to 1 kHz, logarithmic above; each filter has the same area.
    case slaney
  }

  /// Mel bands.
  let bandCount: Int
  /// Samples between two frames.
  let hop: Int
  /// Samples of a frame.
  let frameLength: Int
  /// The first bin of each filter that is above 0, and its weights from there.
  let filters: [(start: Int, weights: [Double])]
  private let window: [Double]
  private let transform: FourierTransform

  init(
    bandCount: Int, frameLength: Int, hop: Int, sampleRate: Int, frequencies: ClosedRange<Double>,
    scale: Scale
  ) {
    (self.bandCount, self.frameLength, self.hop) = (bandCount, frameLength, hop)
    window = (0..<frameLength).map { 0.5 - 0.5 * cos(2 * Double.pi * Double($0) / Double(frameLength)) }
    transform = FourierTransform(length: frameLength)
    let (lowest, highest) = (scale.mel(frequencies.lowerBound), scale.mel(frequencies.upperBound))
    let edges = (0..<bandCount + 2).map {
      scale.frequency(lowest + (highest - lowest) * Double($0) / Double(bandCount + 1))
    }
    let (binCount, highestBin) = (frameLength / 2 + 1, Double(sampleRate / 2))
    filters = (0..<bandCount).map { band in
      let (low, peak, high) = (edges[band], edges[band + 1], edges[band + 2])
      let area = scale == .slaney ? 2 / (high - low) : 1
      let weights = (0..<binCount).map { bin in
        let frequency = highestBin * Double(bin) / Double(binCount - 1)
        return area * max(0, min((frequency - low) / (peak - low), (high - frequency) / (high - peak)))
      }
      guard let start = weights.firstIndex(where: { $0 > 0 }),
        let end = weights.lastIndex(where: { $0 > 0 })
      else { return (0, []) }
      return (start, Array(weights[start...end]))
    }
  }

  /// The frames of a number of samples.
  func frameCount(of sampleCount: Int) -> Int { sampleCount / hop + 1 }

  /// Energies, `[frames, bands]`.
  ///
  /// - Parameter samples: More than half a frame.
  func energies(_ samples: [Double]) -> [Double] {
    require(samples.count > frameLength / 2, "\(samples.count) samples for frames of \(frameLength)")
    var energies: [Double] = []
    energies.reserveCapacity(frameCount(of: samples.count) * bandCount)
    let last = samples.count - 1
    var windowed = [Double](repeating: 0, count: frameLength)
    for frame in 0..<frameCount(of: samples.count) {
      let start = frame * hop - frameLength / 2
      var isSilent = true
      for index in 0..<frameLength {
        var place = abs(start + index)
        if place > last { place = 2 * last - place }
        windowed[index] = samples[place] * window[index]
        isSilent = isSilent && windowed[index] == 0
      }
      // Most frames of a short recording are padding: the transform of zeros is known.
      if isSilent {
        energies += repeatElement(0, count: bandCount)
        continue
      }
      let power = transform.power(windowed)
      for filter in filters {
        var energy = 0.0
        for (index, weight) in filter.weights.enumerated() { energy += power[filter.start + index] * weight }
        energies.append(energy)
      }
    }
    return energies
  }
}

extension MelSpectrogram.Scale {
  // Slaney's scale: 3/200 mel a hertz to 1 kHz, from there 27 mel for each factor of 6.4.
  private static let (linearEnd, linearEndMel, logarithmicStep) = (1000.0, 15.0, 27 / log(6.4))

  /// The mel of a frequency in Hz.
  fileprivate func mel(_ frequency: Double) -> Double {
    switch self {
    case .htk: 2595 * log10(1 + frequency / 700)
    case .slaney:
      frequency < Self.linearEnd
        ? 3 * frequency / 200 : Self.linearEndMel + log(frequency / Self.linearEnd) * Self.logarithmicStep
    }
  }

  /// The frequency in Hz of a mel.
  fileprivate func frequency(_ mel: Double) -> Double {
    switch self {
    case .htk: 700 * (pow(10, mel / 2595) - 1)
    case .slaney:
      mel < Self.linearEndMel
        ? 200 * mel / 3 : Self.linearEnd * exp((mel - Self.linearEndMel) / Self.logarithmicStep)
    }
  }
}
