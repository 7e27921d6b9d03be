public import Foundation

/// Reads a medium from a file as a model takes it.
public enum MediaFile {
  /// An image (PGM, PPM) or sound (WAV) with the preprocessing of the model's family.
  ///
  /// - Parameter name: What the medium is called in results.
  /// - Throws: `FileError`, `MediaError`, `PromptError.unsupportedModality`.
  public static func medium(
    _ modality: Modality, at url: URL, named name: String, for model: any LanguageModel
  ) throws -> Medium {
    if let shape = (model as? AVTLlamaModel)?.mediumShape(of: modality) {
      if modality == .image { return try PNMFile(contentsOf: url).medium(shape: shape, identity: name) }
      if modality == .audio {
        return try AVDigitsLogMel().medium(WAVFile(contentsOf: url), shape: shape, identity: name)
      }
    }
    throw PromptError.unsupportedModality(
      sample: name, modality: modality.rawValue, supported: model.inputNames)
  }
}
