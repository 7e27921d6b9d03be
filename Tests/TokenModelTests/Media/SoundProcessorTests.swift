import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// Sound preprocessing against the transformers library.
final class SoundProcessorTests: XCTestCase {
  /// Tolerance: the library computes in Float32 (`whisper*`) or rounds spectra to it (`*_f64`); 1e-4 is what it allows
  /// between its own two ways.
  func testLogMelOfWhisperAndCLAP() throws {
    let oracle = try OracleCase("logmel")
    let sound = try oracle.stored("waveform_16k").doubles()
    for (name, text) in [
      ("whisper80_1s", #"{"chunk_length": 1}"#),
      ("whisper128_2s", #"{"chunk_length": 2, "feature_size": 128}"#),
    ] {
      let whisper = try WhisperFeatures(reader(text))
      let features = whisper.features(sound)
      try oracle.compare(features, with: name, absolute: 1e-4)
      try oracle.compare(features, with: "\(name)_f64", absolute: 1e-4)
      try oracle.compare(filters(whisper.spectrogram), with: "\(name).mel_filters", absolute: 1e-7)
      XCTAssertEqual(whisper.medium(sound, path: "a", identity: "a").layout.frameCount, 100)
    }
    let second = try WhisperFeatures(reader(#"{"chunk_length": 1}"#))
    try oracle.compare(
      second.features(sound, normalizes: true), with: "whisper80_1s_donormalize", absolute: 1e-4)
    // The fixture keeps 140 of 3000 frames; what follows is silence.
    let whole = try WhisperFeatures(reader(Fixtures.json("logmel/preprocessor_config.json").text()))
    let medium = whole.medium(sound, path: "a", identity: "a")
    XCTAssertEqual(medium.shape, [80, 3000])
    guard case .numbers(let numbers) = medium.values else { return XCTFail("no numbers") }
    let kept = (0..<80).flatMap { numbers[$0 * 3000..<$0 * 3000 + 140] }
    try oracle.compare(kept, with: "whisper80_30s", absolute: 1e-4)
    try oracle.compare(kept, with: "whisper80_30s_f64", absolute: 1e-4)
    XCTAssertEqual(Set((0..<80).flatMap { numbers[$0 * 3000 + 140..<$0 * 3000 + 3000] }).count, 1)
    let chirp = try oracle.stored("waveform_48k").doubles()
    // Tolerance: decibels, of energies that the library rounds to 24 bits before the logarithm.
    let fused = try CLAPFeatures(reader(#"{"max_length_s": 2}"#)).medium(
      chirp, path: "a", identity: "a")
    try oracle.compare(firstChannel(fused, 4), with: "clap_fusion_repeatpad", absolute: 0.01)
    let settings = #"{"max_length_s": 2, "truncation": "rand_trunc", "padding": "pad"}"#
    let padded = try CLAPFeatures(reader(settings)).medium(chirp, path: "a", identity: "a")
    try oracle.compare(firstChannel(padded, 1), with: "clap_slaney_pad", absolute: 0.01)
    oracle.finish()
  }

  private func reader(_ text: String) throws -> ConfigurationReader {
    try ConfigurationReader(path: "a.json", bytes: Array(text.utf8))
  }

  /// One of equal channels.
  private func firstChannel(_ medium: Medium, _ count: Int) -> [Float] {
    XCTAssertEqual(medium.shape[0], count)
    guard case .numbers(let numbers) = medium.values else { return [] }
    let size = numbers.count / count
    for channel in 0..<count {
      XCTAssertEqual(numbers[channel * size..<(channel + 1) * size], numbers[..<size])
    }
    return Array(numbers[..<size])
  }

  /// `[bins, bands]`.
  private func filters(_ spectrogram: MelSpectrogram) -> [Float] {
    let binCount = spectrogram.frameLength / 2 + 1
    var result = [Float](repeating: 0, count: binCount * spectrogram.bandCount)
    for (band, filter) in spectrogram.filters.enumerated() {
      for (index, weight) in filter.weights.enumerated() {
        result[(filter.start + index) * spectrogram.bandCount + band] = Float(weight)
      }
    }
    return result
  }

  /// Against the sum that defines the transform.
  func testTheTransformOfAnyLength() {
    for length in [2, 3, 5, 12, 49, 60, 400, 441] {
      let values = randomTensor([length], seed: UInt64(length)).hostValues().map { Double($0) }
      let power = FourierTransform(length: length).power(values)
      XCTAssertEqual(power.count, length / 2 + 1)
      for (bin, found) in power.enumerated() {
        var (real, imaginary) = (0.0, 0.0)
        for (index, value) in values.enumerated() {
          let angle = 2 * Double.pi * Double(bin * index % length) / Double(length)
          real += value * cos(angle)
          imaginary -= value * sin(angle)
        }
        XCTAssertEqual(found, real * real + imaginary * imaginary, accuracy: 1e-10 * Double(length))
      }
    }
  }

  /// A tone below what the lower rate can carry keeps frequency, phase and amplitude; one above it disappears.
  func testATonePassesTheChangeOfSampleRate() throws {
    for (source, target) in [
      (44_100, 16_000), (48_000, 16_000), (8_000, 16_000), (22_050, 48_000), (16_001, 16_000),
    ] {
      let converter = try XCTUnwrap(SampleRateConverter(from: source, to: target))
      let tone = { (frequency: Double, rate: Int, count: Int) in
        (0..<count).map { 0.5 * sin(2 * Double.pi * frequency * Double($0) / Double(rate)) }
      }
      let limit = Double(min(source, target)) / 2
      let count = source / 4
      for frequency in [100, 0.5 * limit, 0.85 * limit] {
        let found = converter.convert(tone(frequency, source, count))
        let expected = tone(frequency, target, found.count)
        XCTAssertEqual(found.count, (count * target + source - 1) / source, "\(source) to \(target)")
        // Away from the ends, where the filter looks into the silence around.
        let edge = found.count / 8
        let worst = zip(found, expected).map { abs($0 - $1) }[edge..<found.count - edge].max() ?? 1
        XCTAssertLessThan(worst, 1e-5, "\(frequency) Hz from \(source) to \(target)")
      }
      guard Double(source) > 1.2 * Double(target) else { continue }
      let gone = converter.convert(tone(1.1 * limit, source, count))
      let edge = gone.count / 8
      XCTAssertLessThan(gone[edge..<gone.count - edge].map { abs($0) }.max() ?? 1, 1e-5)
    }
    XCTAssertEqual(try XCTUnwrap(SampleRateConverter(from: 3, to: 2)).convert([1, 1, 1]).count, 2)
    XCTAssertNil(SampleRateConverter(from: 767_999, to: 16_000))
  }

  func testSettingsThatAreNotSupportedAreRefused() throws {
    for text in [
      #"{"feature_extractor_type": "WhisperFeatureExtractor", "dither": 0.1}"#,
      #"{"feature_extractor_type": "WhisperFeatureExtractor", "padding_side": "left"}"#,
      #"{"feature_extractor_type": "ClapFeatureExtractor", "padding": "mirror"}"#,
      #"{"feature_extractor_type": "Wav2Vec2FeatureExtractor"}"#,
    ] {
      XCTAssertThrowsError(try SoundProcessors.processor(reader(text)), text) {
        XCTAssertEqual(($0 as? ConfigurationError)?.exitStatus, .unsupported)
      }
    }
  }

  /// CLAP cuts longer recordings at random places.
  func testALongRecordingIsRefusedWhereItWouldBeCutAtRandom() throws {
    let clap = try CLAPFeatures(reader(#"{"max_length_s": 1, "sampling_rate": 1000}"#))
    XCTAssertThrowsError(try clap.medium([Double](repeating: 0, count: 1001), path: "a", identity: "a")) {
      XCTAssertEqual(($0 as? MediaError)?.code, .tooLarge)
    }
  }
}
