public import Foundation

/// What says how media are read: a model by itself, or a checkpoint with the preprocessing of its folder.
public protocol MediaSource {
  /// Reads media as they are taken.
  var mediaReader: MediaReader { get }
}

extension LanguageModel {
  /// With the preprocessing that the family itself has.
  public var mediaReader: MediaReader { MediaReader(self) }
}

/// Reads media from files as a model takes them.
public struct MediaReader: Sendable {
  private let model: any LanguageModel
  /// The preprocessing of a checkpoint's folder; nil for families with one of their own.
  private let processor: Result<MediaProcessor, any Error>?

  /// Reads for a family with preprocessing of its own.
  public init(_ model: any LanguageModel) { (self.model, processor) = (model, nil) }

  /// Reads as the settings in a checkpoint's folder say; those that cannot be used are an error when a medium is read.
  init(_ model: any LanguageModel, folder: URL) {
    self.model = model
    let isOwn = model is AVTLlamaModel || model.modalities.isEmpty
    processor = isOwn ? nil : Result { try MediaProcessor(folder: folder) }
  }

  /// A medium.
  ///
  /// - Parameter name: What the medium is called in results.
  /// - Throws: `FileError`, `MediaError`, `DecoderError`, `ConfigurationError`, `PromptError`.
  public func medium(_ modality: Modality, at url: URL, named name: String) throws -> Medium {
    guard model.modalities.contains(modality) else { throw unsupported(modality, name) }
    if let processor {
      return try processor.get().medium(from: url, modality: modality, identity: name)
    }
    if let model = model as? AVTLlamaModel, let shape = model.mediumShape(of: modality) {
      if modality == .image { return try PNMFile(contentsOf: url).medium(shape: shape, identity: name) }
      if modality == .audio {
        return try AVDigitsLogMel().medium(WAVFile(contentsOf: url), shape: shape, identity: name)
      }
    }
    throw unsupported(modality, name)
  }

  private func unsupported(_ modality: Modality, _ name: String) -> PromptError {
    .unsupportedModality(sample: name, modality: modality.rawValue, supported: model.inputNames)
  }
}
