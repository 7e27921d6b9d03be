import Foundation
import RunKit
import TensorCore
import TokenModel

/// Turns what a sample is made of into the numbers that are stored.
struct PartReader: Sendable {
  /// The numbers of one sample.
  enum Value: Sendable {
    /// Of pictures or text.
    case bytes([UInt8])
    /// Of features or of a sequence.
    case floats([Float])

    var count: Int {
      switch self {
      case .bytes(let bytes): bytes.count
      case .floats(let floats): floats.count
      }
    }
  }

  let recipe: DataRecipe
  private let media = MediaFiles()
  private let filterBank = KaldiFilterBank()
  private let spectrogram: LogSpectrogram
  private static let resampling = Resampling(.bilinear)

  init(_ recipe: DataRecipe) {
    self.recipe = recipe
    spectrogram = LogSpectrogram(seconds: recipe.seconds)
  }

  /// The numbers of a part as a modality stores them.
  ///
  /// - Throws: `FileError`, `MediaError`, `DecoderError`, `NumPyFileError`, `StoredTensorError`, `PackingError.badSample`.
  func value(_ part: SourcePart, as modality: PackedModality, of sample: String) throws -> Value {
    let value = try value(part, modality, sample)
    let expected = modality.isFixed ? modality.shape.reduce(1, *) : value.count
    let path = part.files.first?.path ?? sample
    guard value.count == expected else {
      throw PackingError.badSample(
        path: path, sample: sample, reason: "found \(value.count) numbers, expected \(modality.shape)")
    }
    if case .floats(let floats) = value, let odd = floats.first(where: { !$0.isFinite }) {
      throw PackingError.badSample(path: path, sample: sample, reason: "\(modality.name) holds \(odd)")
    }
    return value
  }

  private func value(_ part: SourcePart, _ modality: PackedModality, _ sample: String) throws -> Value {
    switch part {
    case .sound(let url): return .floats(try sound(url))
    case .array(let url): return .floats(try NPYFile.read(path: url.path).floats())
    case .pictures(let urls):
      return .bytes(try urls.flatMap { stored(try media.image(at: $0), channels: modality.shape[3]) })
    case .flow(let u, let v):
      return .bytes(
        try zip(u, v).flatMap { u, v in
          let (right, down) = (try gray(u), try gray(v))
          return zip(right, down).flatMap { [$0, $1] }
        })
    case .video(let url):
      let (wanted, total) = (modality.shape[0], try media.frameCount(of: url))
      guard total >= wanted else {
        throw PackingError.badSample(
          path: url.path, sample: sample, reason: "the video has \(total) frames, expected at least \(wanted)"
        )
      }
      let frames = try media.frames(at: url, indices: SourceLister.middles(of: total, count: wanted))
      return .bytes(frames.flatMap { stored($0, channels: modality.shape[3]) })
    case .text(let text): return .bytes([UInt8](text.utf8))
    case .steps(let array, let row): return .floats(MOSEILayout.trimmed(array, row))
    case .values(let values): return .floats(values)
    }
  }

  private func sound(_ url: URL) throws -> [Float] {
    if recipe.sound == .logSpectrogram {
      let rate = LogSpectrogram.sampleRate
      return spectrogram.features(try media.samples(at: url, rate: rate, seconds: recipe.seconds))
    }
    let samples = try media.samples(
      at: url, rate: KaldiFilterBank.sampleRate, seconds: DataRecipe.readSeconds)
    return filterBank.features(samples, frames: recipe.soundFrames)
  }

  private func gray(_ url: URL) throws -> [UInt8] { stored(try media.image(at: url), channels: 1) }

  /// A picture as a square.
  private func stored(_ image: RGBImage, channels: Int) -> [UInt8] {
    let side = recipe.side
    let square = Medium.Extent(height: side, width: side)
    let resized: RGBImage
    switch recipe.fit {
    case .squash: resized = Self.resampling.resized(image, to: square)
    case .crop:
      let short = min(image.height, image.width)
      // As torchvision's Resize: the longer side in proportion, rounded down.
      let size = Medium.Extent(
        height: max(side, image.height * side / short), width: max(side, image.width * side / short))
      resized = Self.resampling.resized(image, to: size).centerCropped(to: square)
    }
    return channels == 3
      ? resized.pixels : stride(from: 0, to: resized.pixels.count, by: 3).map { resized.pixels[$0] }
  }
}
