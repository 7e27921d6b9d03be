public import Foundation
import RunKit
public import TensorCore

/// A model folder in the layout of Hugging Face: configuration, weights, tokenizer.
public struct Checkpoint: Sendable, MediaSource {
  /// The folder.
  public let folder: URL
  /// `config.json`.
  public let configuration: ConfigurationReader
  /// The family it belongs to.
  public let family: ModelFamilies.Family
  /// The weight files.
  public let weights: ShardedTensors
  /// The model, its matrices still mapped.
  public private(set) var model: any LanguageModel
  /// Files outside the folder that change the model, such as those of an adapter, each with the name it has in records.
  public private(set) var attachments: [(name: String, file: URL)] = []
  /// Rotated queries of the folder, or of what was put into the model.
  public private(set) var rotations: StoredRotations?
  /// The tokenizer, if the folder has one.
  public let tokenizer: (any Tokenizer)?
  /// Ids that end an answer: those of `generation_config.json`, or else of `config.json`.
  public let endIDs: [Int]
  /// The chat template, if the folder has one and the family asks for it; read with the folder, missed only when needed.
  private let foundTemplate: Result<ChatTemplate?, any Error>

  private static let configurationLimit = 10 << 20

  /// Opens a folder.
  ///
  /// - Throws: `CheckpointError`, `FileError`, `ConfigurationError`, `ShardedTensorsError`, `SafetensorsError`,
  ///   `TokenizerError`.
  public init(folder: URL) throws {
    try Self.check(folder)
    let path = folder.appendingPathComponent("config.json")
    let configuration = try ConfigurationReader(
      path: path.path, bytes: FileReader.bytes(of: path, limit: Self.configurationLimit))
    self.folder = folder
    self.configuration = configuration
    family = try ModelFamilies.family(of: configuration)
    weights = try ShardedTensors(
      folder: folder.path,
      baseName: CheckpointConversion.made(configuration) ? CheckpointConversion.baseName : "model")
    model = try family.load(configuration, WeightSource(weights))
    rotations = try StoredRotations(in: folder, for: model.decoder.configuration)
    if let rotations { model.decoder = model.decoder.adding([rotations.intervention]) }
    tokenizer = try Self.tokenizer(in: folder)
    endIDs =
      try GenerationSettings(folder: folder, vocabulary: model.decoder.configuration.vocabularySize).endIDs
      ?? model.decoder.configuration.endIDs
    let usesTemplate = model.usesChatTemplate
    foundTemplate = Result { usesTemplate ? try ChatTemplate(folder: folder) : nil }
  }

  /// Says what is missing by the folder that was named, not by the first file that was looked for in it.
  private static func check(_ folder: URL) throws(CheckpointError) {
    let target = folder.resolvingSymlinksInPath()
    guard FileManager.default.fileExists(atPath: target.path) else { throw .noFolder(path: folder.path) }
    let facts = try? target.resourceValues(forKeys: [.isDirectoryKey])
    guard facts?.isDirectory ?? false else { throw .notAFolder(path: folder.path) }
    let configuration = folder.appendingPathComponent("config.json")
    guard FileManager.default.fileExists(atPath: configuration.path) else {
      throw .noConfiguration(path: folder.path)
    }
  }

  /// The tokenizer of a folder: by its `tokenizer.json` if there is one, as transformers does, otherwise by
  /// `tokenizer.model`, otherwise by `vocab.json` and `merges.txt`.
  private static func tokenizer(in folder: URL) throws -> (any Tokenizer)? {
    let has = { (name: String) in
      FileManager.default.fileExists(atPath: folder.appendingPathComponent(name).path)
    }
    if has("tokenizer.json") { return try BytePairTokenizer(folder: folder) }
    if has("tokenizer.model") { return try SentencePieceTokenizer(folder: folder) }
    return has("vocab.json") && has("merges.txt") ? try BytePairTokenizer(folder: folder) : nil
  }

  /// The model once more, from weights that `change` may replace or wrap; matrices stay mapped.
  ///
  /// - Throws: As the initialiser, and what `change` throws.
  public func model(_ change: (WeightSource) throws -> WeightSource) throws -> any LanguageModel {
    var model = try family.load(configuration, change(WeightSource(weights)))
    if let rotations { model.decoder = model.decoder.adding([rotations.intervention]) }
    return model
  }

  /// The same folder with another model made from it, and the files that made the difference.
  ///
  /// - Parameter rotations: To put into the model; only where the folder has none.
  /// - Throws: `RollingQueryError.alreadyRotated`.
  public func with(
    _ model: any LanguageModel, attachments: [(name: String, file: URL)], rotations: StoredRotations? = nil
  ) throws(RollingQueryError) -> Checkpoint {
    var checkpoint = self
    checkpoint.model = model
    checkpoint.attachments += attachments
    guard let rotations else { return checkpoint }
    if let own = self.rotations { throw .alreadyRotated(path: own.file.path) }
    checkpoint.rotations = rotations
    checkpoint.model.decoder = model.decoder.adding([rotations.intervention])
    return checkpoint
  }

  /// The tokenizer, or the error that says there is none.
  ///
  /// - Throws: `PromptError.noTokenizer`.
  public func requiredTokenizer() throws(PromptError) -> any Tokenizer {
    guard let tokenizer else { throw .noTokenizer(path: folder.path) }
    return tokenizer
  }

  /// The same with the first layers of the decoder only, to measure what a layer costs.
  ///
  /// - Parameter clock: Told how long each layer takes.
  public func truncated(toLayers count: Int, clock: LayerClock) -> Checkpoint {
    var copy = self
    copy.model.decoder = model.decoder.prefix(layers: count, clock: clock)
    return copy
  }

  /// Reads media as the model takes them.
  public var mediaReader: MediaReader { MediaReader(model, folder: folder) }

  /// Every file that changes the numbers with its SHA-256, ordered by name.
  ///
  /// - Parameter willRead: Told how many bytes must be read, if they are many.
  /// - Throws: `FileError`.
  public func fileHashes(willRead: (Int) -> Void = { _ in }) throws -> [(name: String, sha256: String)] {
    let known = [
      "config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "vocab.json",
      "merges.txt", "tokenizer_config.json",
      "added_tokens.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json",
      "processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json",
      StoredRotations.name,
    ]
    let names = known.filter {
      FileManager.default.fileExists(atPath: folder.appendingPathComponent($0).path)
    }
    let weightNames = weights.files.map { URL(fileURLWithPath: $0.path).lastPathComponent }
    let all = (names + weightNames).sorted()
    let hashes = try FileHashes().sha256(
      of: all.map(folder.appendingPathComponent) + attachments.map(\.file), willRead: willRead)
    return Array(zip(all + attachments.map(\.name), hashes))
  }

  /// A sample as the model sees it.
  ///
  /// - Parameter includesAnswer: Whether the expected answer follows the prompt, for teacher forcing.
  /// - Throws: `PromptError`, `TokenizerError`, `ChatTemplateError`.
  public func prompt(for sample: Sample, includesAnswer: Bool = false) throws -> Prompt {
    try model.prompt(
      for: sample, tokenizer: requiredTokenizer(),
      template: sample.rawPrompt == nil ? foundTemplate.get() : nil, includesAnswer: includesAnswer)
  }
}

extension Checkpoint {
  /// A prompt continued by ids, as if they were its given answer.
  ///
  /// - Throws: `PromptError`, `TokenizerError`.
  public func appending(ids: [Int], to prompt: Prompt) throws -> Prompt {
    let tokenizer = try requiredTokenizer()
    var spans = prompt.spans
    for position in ids.indices { spans.appendText(role: .response, source: prompt.ids.count + position) }
    return Prompt(
      ids: prompt.ids + ids, pieces: prompt.pieces + ids.map { tokenizer.piece($0) ?? "<\($0)>" },
      media: prompt.media, spans: spans,
      positions: prompt.positions.appending(prompt.positions.continuing(ids.count)),
      promptCount: prompt.promptCount)
  }
}
