import Foundation
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// The sound features of packed data sets against torchaudio and librosa (`Benchmarks/oracles/make_sound_features.py`).
final class SoundFeaturesTests: XCTestCase {
  /// Two tones and noise of a linear congruential generator, as the script has them.
  private func signal(_ count: Int, rate: Int) -> [Double] {
    var state: UInt64 = 12345
    return (0..<count).map { index in
      state = (1_103_515_245 * state + 12345) % (1 << 31)
      let noise = Double(state) / Double(1 << 31) - 0.5
      let time = Double(index) / Double(rate)
      let tones = 0.4 * sin(2 * Double.pi * 440 * time) + 0.2 * sin(2 * Double.pi * 1730 * time + 0.5)
      return tones + 0.1 * noise + 0.03
    }
  }

  private func oracle(_ name: String) throws -> (shape: [Int], values: [Float]) {
    let file = try SafetensorsFile(path: Fixtures.url("sound_features.safetensors").path)
    let tensor = try file.tensor(name)
    return (tensor.shape, try tensor.floats())
  }

  private func check(_ found: [Float], _ name: String, rows: Int, columns: Int, tolerance: Float) throws {
    let (shape, expected) = try oracle(name)
    XCTAssertEqual(shape, [rows, columns])
    XCTAssertEqual(found.count, expected.count)
    var largest: Float = 0
    for (x, y) in zip(found, expected) {
      XCTAssertTrue(x.isFinite)
      largest = max(largest, abs(x - y))
    }
    print("\(name): \(expected.count) values, largest difference \(largest)")
    XCTAssertLessThanOrEqual(largest, tolerance)
  }

  /// The filters of the reference are Float32: their weights differ in the seventh digit.
  func testFilterBankEqualsTorchaudio() throws {
    let bank = KaldiFilterBank()
    let samples = signal(4000, rate: 16_000)
    try check(
      bank.features(samples, frames: 26), "fbank.padded", rows: 26, columns: 128, tolerance: 2e-5)
    try check(bank.features(samples, frames: 8), "fbank.cut", rows: 8, columns: 128, tolerance: 2e-5)
  }

  func testFilterBankOfTooLittleIsSilence() {
    let silence = Float(4.503877 / (2 * 5.141276))
    let values = KaldiFilterBank().features([0.5, -0.5], frames: 3)
    XCTAssertEqual(values, [Float](repeating: silence, count: 3 * 128))
    XCTAssertEqual(KaldiFilterBank().logEnergies(signal(4000, rate: 16_000), frames: 100).count, 23)
  }

  /// Both are Float64 and rounded at the end; 1e-7 beside a small magnitude costs digits.
  func testLogSpectrogramEqualsLibrosa() throws {
    let spectrogram = LogSpectrogram(seconds: 0.3)
    XCTAssertEqual(spectrogram.frameCount, 19)
    let found = spectrogram.features(signal(1500, rate: 22_050).map { $0 * 2.2 })
    try check(found, "log_stft", rows: 257, columns: 19, tolerance: 1e-5)
    // The shape of the published experiments.
    XCTAssertEqual(LogSpectrogram(seconds: 3).frameCount, 188)
  }
}
