import Foundation
import RunKit
import TensorCore
import TokenModel

/// Encoders that are models of TokenModel, from folders or at random.
extension EncoderChoice {
  /// Sizes of a vision transformer that starts at random.
  ///
  /// Source: Dosovitskiy et al., arXiv:2010.11929, table 1 (base); Touvron et al., "Training data-efficient image
  /// transformers", ICML 2021, arXiv:2012.12877, table 1 (tiny, small).
  private enum VisionSize: String, CaseIterable {
    case tiny, small, base

    var width: Int {
      switch self {
      case .tiny: 192
      case .small: 384
      case .base: 768
      }
    }
  }

  static func vit(
    _ reader: ExperimentReader, _ base: URL
  ) throws -> (ModalityInput) throws -> PreparedEncoder {
    if let folder = try reader.place("folder", relativeTo: base) {
      return { input in try vit(input, folder) }
    }
    let size = try reader.choice("size", default: VisionSize.base)
    let width = try reader.integer("width", in: 1...(1 << 14), default: size.width)
    let heads = try reader.integer("heads", in: 1...1024, default: max(1, width / 64))
    let layers = try reader.integer("layers", in: 1...256, default: 12)
    let inner = try reader.integer("inner", in: 1...(1 << 16), default: 4 * width)
    let patch = try reader.integer("patch", in: 1...1024, default: 16)
    guard width % heads == 0 else {
      throw reader.impossible("heads", found: "\(heads)", expected: "a divisor of the width, \(width)")
    }
    return { input in
      let shape = try squareShape(input)
      let (side, channels) = (shape[shape.count - 2], shape[shape.count - 1])
      guard side % patch == 0 else {
        throw EncoderError.unfit(
          modality: input.name, encoder: Kind.vit.rawValue, input: input.summary,
          reason: "patches of \(patch) rows do not fill \(side) rows")
      }
      let settings: JSONValue = [
        "model_type": "vit", "image_size": .integer(side), "patch_size": .integer(patch),
        "num_channels": .integer(channels), "hidden_size": .integer(width),
        "intermediate_size": .integer(inner), "num_hidden_layers": .integer(layers),
        "num_attention_heads": .integer(heads),
      ]
      let configuration = try VisionTransformer.Configuration(
        ConfigurationReader(path: "encoders.\(input.name)", bytes: [UInt8](settings.text().utf8)))
      return PreparedEncoder(
        encoder: try VisionTransformerEncoder(inputShape: shape, configuration, tensors: nil))
    }
  }

  private static func vit(_ input: ModalityInput, _ folder: URL) throws -> PreparedEncoder {
    let shape = try squareShape(input)
    let configuration = try VisionTransformer.Configuration(ConfigurationReader(folder: folder))
    let wanted = [configuration.imageSize, configuration.imageSize, configuration.channels]
    guard Array(shape.suffix(3)) == wanted else {
      throw EncoderError.wrongFolder(
        path: folder.path, modality: input.name, encoder: Kind.vit.rawValue,
        reason: "it takes pictures \(wanted), the data set has \(Array(shape.suffix(3)))")
    }
    let tensors = try ShardedTensors(folder: folder.path)
    return PreparedEncoder(
      encoder: try VisionTransformerEncoder(inputShape: shape, configuration, tensors: tensors),
      files: modelFiles(folder, tensors))
  }

  /// The shape of square pictures.
  private static func squareShape(_ input: ModalityInput) throws -> [Int] {
    guard case .numbers(let shape, _) = input.form, 3...4 ~= shape.count,
      shape[shape.count - 2] == shape[shape.count - 3]
    else {
      throw EncoderError.unfit(
        modality: input.name, encoder: Kind.vit.rawValue, input: input.summary,
        reason: "it takes square pictures and frames")
    }
    return shape
  }

  static func bert(
    _ reader: ExperimentReader, _ base: URL
  ) throws -> (ModalityInput) throws -> PreparedEncoder {
    guard let folder = try reader.place("folder", relativeTo: base) else {
      throw ExperimentError.missingKey(path: reader.path, key: reader.name("folder"))
    }
    let isRandom = try reader.bool("random", default: false)
    let length = try reader.integer("length", in: 2...(1 << 16), default: 40)
    let pooling = try reader.choice("pooling", default: BertTextEncoder.Pooling.pooler)
    let dropout = try reader.number("dropout", in: 0...0.99, default: 0.1)
    let features = try reader.optionalInteger("features", in: 1...(1 << 16))
    return { input in
      guard case .text = input.form else {
        throw EncoderError.unfit(
          modality: input.name, encoder: Kind.bert.rawValue, input: input.summary, reason: "it takes text")
      }
      func refused(_ reason: String) -> EncoderError {
        .wrongFolder(path: folder.path, modality: input.name, encoder: Kind.bert.rawValue, reason: reason)
      }
      let configuration = try BertEncoder.Configuration(ConfigurationReader(folder: folder))
      let tokenizer = try WordPieceTokenizer(folder: folder)
      guard tokenizer.vocabularySize <= configuration.vocabularySize else {
        throw refused(
          "its tokenizer has \(tokenizer.vocabularySize) pieces, its model \(configuration.vocabularySize)")
      }
      guard length <= configuration.positionCount else {
        throw refused("it has \(configuration.positionCount) positions, a length of \(length) is asked for")
      }
      let tensors = isRandom ? nil : try ShardedTensors(folder: folder.path)
      let encoder = try BertTextEncoder(
        length: length, configuration, tensors: tensors, pooling: pooling, dropout: dropout,
        paddingID: tokenizer.paddingID ?? 0, featureSize: features)
      return PreparedEncoder(
        encoder: encoder, text: .tokens(TextTokens(tokenizer, length: length)),
        files: modelFiles(folder, tensors) + tokenizerFiles(folder))
    }
  }

  /// The settings and weights of a folder.
  private static func modelFiles(_ folder: URL, _ tensors: ShardedTensors?) -> [URL] {
    [folder.appendingPathComponent("config.json")]
      + (tensors?.files.map { URL(fileURLWithPath: $0.path) } ?? [])
  }

  /// The files of a tokenizer that are there.
  static func tokenizerFiles(_ folder: URL) -> [URL] {
    ["tokenizer.json", "vocab.txt", "tokenizer_config.json"].map(folder.appendingPathComponent)
      .filter { FileManager.default.fileExists(atPath: $0.path) }
  }
}

/// The encoders of an experiment by modality.
struct EncoderChoices {
  private var choices: [String: EncoderChoice] = [:]

  /// The defaults for all.
  static var standard: EncoderChoices { EncoderChoices() }
  private init() {}

  /// Reads `encoders` of an experiment: one name for all modalities, or an object with a name or an object for each.
  ///
  /// - Throws: `ExperimentError`.
  init(_ reader: ExperimentReader, modalities: [String], base: URL) throws {
    let section = try reader.section("encoders") { text in
      JSONObject(modalities.map { ($0, .string(text)) })
    }
    for name in modalities {
      let own = try section.section(name) { JSONObject([("type", .string($0))]) }
      choices[name] = try EncoderChoice(own, base: base)
    }
  }

  /// The encoder of a modality.
  subscript(modality: Modality) -> EncoderChoice { choices[modality.rawValue] ?? .standard }

  /// The encoders of modalities, each for its input.
  ///
  /// - Throws: As `EncoderChoice.prepared(for:)`.
  func prepared(for inputs: [ModalityInput]) throws -> [PreparedEncoder] {
    try inputs.map { try self[Modality(rawValue: $0.name)].prepared(for: $0) }
  }

  /// SHA-256 of the files of encoders, named by modality.
  ///
  /// - Throws: `FileError`.
  static func hashes(_ prepared: [PreparedEncoder], _ modalities: [Modality]) throws -> [(String, JSONValue)]
  {
    var named: [(String, JSONValue)] = []
    for (encoder, modality) in zip(prepared, modalities) {
      for (file, hash) in zip(encoder.files, try FileHashes().sha256(of: encoder.files)) {
        named.append(("encoder.\(modality.rawValue)/\(file.lastPathComponent)", .string(hash)))
      }
    }
    return named
  }
}
