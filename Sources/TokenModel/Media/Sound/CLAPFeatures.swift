import Foundation
import RunKit

/// The log-mel features of CLAP.
///
///     features = 10 log₁₀ max(S, 1e-10)
///
/// S are the energies of mel bands (htk for `truncation` "fusion", slaney for "rand_trunc"). A recording shorter than
/// `max_length_s` seconds is repeated as often as it fits whole and padded with zeros ("repeatpad"), repeated and cut
/// ("repeat") or padded ("pad"). A medium has shape `[channels, frames, mel bands]` with 4 equal channels for fusion.
///
/// A longer recording would be cut at random places, so that no two runs agree: it is refused.
///
/// Source: `ClapFeatureExtractor` of the transformers library; Wu et al., "Large-scale Contrastive Language-Audio
/// Pretraining with Feature Fusion and Keyword-to-Caption Augmentation", ICASSP 2023, arXiv:2211.06687.
struct CLAPFeatures: SoundProcessor {
  static let name = "ClapFeatureExtractor"

  /// What is done with a short recording.
  enum Filling: String, Sendable { case repeatThenPad = "repeatpad", repeatThenCut = "repeat", pad }

  let sampleRate: Int
  let seconds: Double
  let spectrogram: MelSpectrogram
  let channelCount: Int
  let filling: Filling

  init(_ settings: ConfigurationReader) throws(ConfigurationError) {
    sampleRate = try settings.integer("sampling_rate", in: 1000...192_000, default: 48_000)
    seconds = Double(try settings.integer("max_length_s", in: 1...300, default: 10))
    try settings.refuse("padding_value", unless: [0.0, 0])
    try settings.refuse("truncation", unless: ["fusion", "rand_trunc"])
    try settings.refuse("padding", unless: ["repeatpad", "repeat", "pad"])
    let isFused = try settings.string("truncation", default: "fusion") == "fusion"
    channelCount = isFused ? 4 : 1
    filling = Filling(rawValue: try settings.string("padding", default: "repeatpad")) ?? .repeatThenPad
    let lowest = try settings.number("frequency_min", above: -1, default: 0)
    let highest = try settings.number("frequency_max", above: lowest, default: 14_000)
    spectrogram = MelSpectrogram(
      bandCount: try settings.integer("feature_size", in: 1...1024, default: 64),
      frameLength: try settings.integer("fft_window_size", in: 16...8192, default: 1024),
      hop: try settings.integer("hop_length", in: 1...8192, default: 480), sampleRate: sampleRate,
      frequencies: lowest...highest, scale: isFused ? .htk : .slaney)
  }

  /// The features of one channel, `[frames, mel bands]`.
  ///
  /// - Parameter samples: 1 to `seconds · sampleRate` of them.
  func features(_ samples: [Double]) -> [Float] {
    let count = Int(seconds) * sampleRate
    var sound = samples
    if filling != .pad {
      let times = filling == .repeatThenPad ? count / samples.count : count / samples.count + 1
      sound = Array((0..<times).flatMap { _ in samples }.prefix(count))
    }
    sound += repeatElement(0, count: count - sound.count)
    return spectrogram.energies(sound).map { Float(10 * log10(max($0, 1e-10))) }
  }

  func medium(_ samples: [Double], path: String, identity: String) throws(MediaError) -> Medium {
    let limit = Int(seconds) * sampleRate
    guard samples.count <= limit else {
      throw .tooLarge(path: path, what: "samples at \(sampleRate) Hz", found: samples.count, limit: limit)
    }
    let features = features(samples)
    let shape = [channelCount, features.count / spectrogram.bandCount, spectrogram.bandCount]
    return Medium(
      modality: .audio, shape: shape, values: .numbers((0..<channelCount).flatMap { _ in features }),
      identity: identity)
  }
}
