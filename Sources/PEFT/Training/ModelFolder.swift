import Foundation
import RunKit
import TokenModel

/// The files of a model besides its weights: where training from scratch takes its sizes and its tokenizer from.
struct ModelFolder {
  /// `config.json` with the switches of the training.
  let reader: ConfigurationReader
  /// The tokenizer.
  let tokenizer: any Tokenizer
  /// What goes beside trained weights, so that they make a checkpoint.
  let copies: [(name: String, bytes: [UInt8])]
  /// SHA-256 of each file.
  let hashes: [(String, JSONValue)]

  private static let sizeLimit = 1 << 26

  /// - Throws: `FileError`, `ConfigurationError`, `TokenizerError`, `TrainingDataError.unsupportedModel`.
  init(_ configuration: TrainingConfiguration) throws {
    let folder = configuration.model
    let path = folder.appendingPathComponent("config.json")
    let bytes = try FileReader.bytes(of: path, limit: Self.sizeLimit)
    let original = try ConfigurationReader(path: path.path, bytes: bytes)
    let type = try original.string("model_type")
    guard type == AVTLlamaModel.modelType else {
      throw TrainingDataError.unsupportedModel(path: path.path, found: type)
    }
    var object = original.object
    var text = try original.requiredSection("text_config").object
    for (key, isOn) in [
      ("qk_norm", configuration.normalisesQueryAndKey), ("swin_norm", configuration.normalisesOutputs),
    ] where isOn {
      text[key] = true
    }
    object["text_config"] = .object(text)
    // Unchanged settings keep their file as it is.
    let written =
      object == original.object ? bytes : [UInt8]((JSONValue.object(object).text(.indented) + "\n").utf8)
    reader = try ConfigurationReader(path: path.path, bytes: written)
    tokenizer = try SentencePieceTokenizer(folder: folder)
    let names = ["tokenizer.model", "tokenizer_config.json"].filter {
      FileManager.default.fileExists(atPath: folder.appendingPathComponent($0).path)
    }
    copies =
      try [("config.json", written)]
      + names.map { ($0, try FileReader.bytes(of: folder.appendingPathComponent($0), limit: Self.sizeLimit)) }
    hashes = copies.map { ($0.name, .string(SHA256.hexadecimal(of: $0.bytes))) }
  }
}
