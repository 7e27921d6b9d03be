import Foundation
import RunKit

/// The log-mel features of Whisper, which Qwen2-Audio takes too.
///
///     L = log₁₀ max(S, 1e-10),  features = (max(L, max L - 8) + 4) / 4
///
/// S are the energies of slaney mel bands up to 8 kHz of the recording, padded with zeros or cut off at `chunk_length`
/// seconds (30); the last frame is dropped. A medium has shape `[mel bands, frames]`; `Layout.frameCount` says how many
/// frames are sound (transformers: `feature_attention_mask`).
///
/// Source: `WhisperFeatureExtractor` of the transformers library; Radford et al., "Robust Speech Recognition via
/// Large-Scale Weak Supervision", ICML 2023, arXiv:2212.04356.
struct WhisperFeatures: SoundProcessor {
  static let name = "WhisperFeatureExtractor"

  let sampleRate: Int
  let seconds: Double
  let spectrogram: MelSpectrogram
  private let padding: Double

  init(_ settings: ConfigurationReader) throws(ConfigurationError) {
    sampleRate = try settings.integer("sampling_rate", in: 1000...192_000, default: 16_000)
    seconds = Double(try settings.integer("chunk_length", in: 1...300, default: 30))
    padding = try settings.number("padding_value", above: -1, default: 0)
    try settings.refuse("dither", unless: [0.0, 0])
    try settings.refuse("padding_side", unless: ["right"])
    spectrogram = MelSpectrogram(
      bandCount: try settings.integer("feature_size", in: 1...1024, default: 80),
      frameLength: try settings.integer("n_fft", in: 16...8192, default: 400),
      hop: try settings.integer("hop_length", in: 1...8192, default: 160), sampleRate: sampleRate,
      frequencies: 0...8000, scale: .slaney)
  }

  /// The features of a recording, `[mel bands, frames]`.
  ///
  /// - Parameter normalizes: Whether the sound is first brought to mean 0 and variance 1.
  func features(_ samples: [Double], normalizes: Bool = false) -> [Float] {
    let count = Int(seconds) * sampleRate
    var sound = Array(samples.prefix(count))
    if normalizes {
      let mean = sound.reduce(0, +) / Double(sound.count)
      let variance = sound.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(sound.count)
      sound = sound.map { ($0 - mean) / (variance + 1e-7).squareRoot() }
    }
    sound += repeatElement(padding, count: count - sound.count)
    let logarithms = spectrogram.energies(sound).dropLast(spectrogram.bandCount).map { log10(max($0, 1e-10)) }
    let floor = (logarithms.max() ?? 0) - 8
    let frameCount = logarithms.count / spectrogram.bandCount
    var features: [Float] = []
    features.reserveCapacity(logarithms.count)
    for band in 0..<spectrogram.bandCount {
      for frame in 0..<frameCount {
        features.append(Float((max(logarithms[frame * spectrogram.bandCount + band], floor) + 4) / 4))
      }
    }
    return features
  }

  func medium(_ samples: [Double], path: String, identity: String) -> Medium {
    let features = features(samples)
    let frameCount = features.count / spectrogram.bandCount
    var layout = Medium.Layout()
    // A frame is sound where its first sample is.
    layout.frameCount = min(frameCount, (samples.count + spectrogram.hop - 1) / spectrogram.hop)
    return Medium(
      modality: .audio, shape: [spectrogram.bandCount, frameCount], values: .numbers(features),
      layout: layout,
      identity: identity)
  }
}
