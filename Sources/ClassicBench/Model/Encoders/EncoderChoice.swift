import Foundation
import RunKit
import TensorCore
import TokenModel

/// An encoder for a modality, and what the data must become for it.
struct PreparedEncoder {
  let encoder: any Encoder
  /// Of text.
  var text = TextForm.counts
  /// What was read, for the record of a run.
  var files: [URL] = []
}

/// The encoder that an experiment asks for; made when the data are known.
struct EncoderChoice {
  /// The words of `type`.
  enum Kind: String, CaseIterable {
    /// An MLP for vectors and counted words, two convolutions for pictures and spectrograms.
    case standard = "default"
    case mlp, cnn, transformer
    case corrected = "transformer-corrected"
    case resnet18, vit, bert
  }

  let kind: Kind
  private let make: (ModalityInput) throws -> PreparedEncoder

  /// - Throws: `EncoderError`, `PackedDataError.noEncoder`; for files, `FileError`, `ConfigurationError`,
  ///   `SafetensorsError`, `StoredTensorError`, `TokenizerError`.
  func prepared(for input: ModalityInput) throws -> PreparedEncoder { try make(input) }

  /// What is used where an experiment says nothing.
  static var standard: EncoderChoice { EncoderChoice(kind: .standard, make: preparedByDefault) }

  private static func preparedByDefault(_ input: ModalityInput) throws -> PreparedEncoder {
    switch input.form {
    case .numbers(let shape, _) where shape.count == 1:
      return PreparedEncoder(encoder: MLPEncoder(inputSize: shape[0], hiddenSize: 64, featureSize: 64))
    case .numbers(let shape, _) where shape.count == 3 && shape.prefix(2).allSatisfy(isWide):
      return PreparedEncoder(
        encoder: ConvolutionEncoder(rows: shape[0], columns: shape[1], channels: shape[2]))
    case .text(let words) where !words.isEmpty:
      return PreparedEncoder(encoder: MLPEncoder(inputSize: words.count, hiddenSize: 64, featureSize: 64))
    default:
      throw PackedDataError.noEncoder(path: input.path, modality: input.name, summary: input.summary)
    }
  }

  private static func isWide(_ side: Int) -> Bool { side >= ConvolutionEncoder.smallestSide }

  private init(kind: Kind, make: @escaping (ModalityInput) throws -> PreparedEncoder) {
    (self.kind, self.make) = (kind, make)
  }

  /// Reads what an experiment says of one modality.
  ///
  /// - Parameter base: What relative paths begin at.
  /// - Throws: `ExperimentError`.
  init(_ reader: ExperimentReader, base: URL) throws {
    let kind = try reader.choice("type", default: Kind.standard)
    let make =
      switch kind {
      case .standard: Self.standard.make
      case .mlp: try Self.mlp(reader)
      case .cnn: try Self.cnn(reader)
      case .transformer: try Self.transformer(reader, base, TransformerEncoder.Options(), kind)
      case .corrected: try Self.transformer(reader, base, .corrected, kind)
      case .resnet18: try Self.resnet18(reader, base)
      case .vit: try Self.vit(reader, base)
      case .bert: try Self.bert(reader, base)
      }
    self.init(kind: kind, make: make)
  }

  private static func unfit(_ input: ModalityInput, _ kind: Kind, _ reason: String) -> EncoderError {
    .unfit(modality: input.name, encoder: kind.rawValue, input: input.summary, reason: reason)
  }

  // MARK: Kinds

  private static let sizes = 1...(1 << 16)

  private static func mlp(_ reader: ExperimentReader) throws -> (ModalityInput) throws -> PreparedEncoder {
    let hidden = try reader.integer("hidden", in: sizes, default: 64)
    let features = try reader.integer("features", in: sizes, default: 64)
    let activation = try reader.choice("activation", default: MLPEncoder.Activation.relu)
    return { input in
      func encoder(_ shape: [Int]) -> PreparedEncoder {
        PreparedEncoder(
          encoder: MLPEncoder(
            inputShape: shape, hiddenSize: hidden, featureSize: features, activation: activation))
      }
      switch input.form {
      case .numbers(let shape, _): return encoder(shape)
      case .text(let words) where !words.isEmpty: return encoder([words.count])
      case .text: throw unfit(input, .mlp, "it counts words, and the data set has no list of words")
      case .sequence: throw unfit(input, .mlp, "it takes inputs of one size")
      }
    }
  }

  private static func cnn(_ reader: ExperimentReader) throws -> (ModalityInput) throws -> PreparedEncoder {
    let features = try reader.integer("features", in: sizes, default: 64)
    return { input in
      guard case .numbers(let shape, _) = input.form, shape.count == 3, shape.prefix(2).allSatisfy(isWide)
      else {
        throw unfit(
          input, .cnn,
          "it takes single pictures and spectrograms of at least \(ConvolutionEncoder.smallestSide) rows and columns"
        )
      }
      return PreparedEncoder(
        encoder: ConvolutionEncoder(
          rows: shape[0], columns: shape[1], channels: shape[2], featureSize: features))
    }
  }

  /// What a picture's or spectrogram's steps are.
  private enum Direction: String, CaseIterable {
    case auto, rows, columns
  }

  private static func transformer(
    _ reader: ExperimentReader, _ base: URL, _ defaults: TransformerEncoder.Options, _ kind: Kind
  ) throws -> (ModalityInput) throws -> PreparedEncoder {
    var options = defaults
    options.layers = try reader.integer("layers", in: 1...256, default: options.layers)
    options.width = try reader.integer("width", in: sizes, default: options.width)
    options.heads = try reader.integer("heads", in: 1...1024, default: options.heads)
    options.inner = try reader.integer("inner", in: sizes, default: options.inner)
    options.dropout = try reader.number("dropout", in: 0...0.99, default: options.dropout)
    if kind == .corrected {
      options.positions = try reader.choice("positions", default: options.positions)
      options.pooling = try reader.choice("pooling", default: options.pooling)
    }
    let direction = try reader.choice("steps", default: Direction.auto)
    let length = try reader.optionalInteger("length", in: sizes)
    let tokenizer = try reader.place("tokenizer", relativeTo: base)
    guard options.width % options.heads == 0 else {
      throw reader.impossible(
        "heads", found: "\(options.heads)", expected: "a divisor of the width, \(options.width)")
    }
    return { [options] input in
      func encoder(_ shape: [Int], _ reading: TransformerEncoder.Reading) -> TransformerEncoder {
        TransformerEncoder(inputShape: shape, reading: reading, options)
      }
      switch input.form {
      case .numbers(let shape, let stepsAreColumns) where shape.count == 3:
        let turned = direction == .columns || direction == .auto && stepsAreColumns
        return PreparedEncoder(encoder: encoder(shape, turned ? .columns : .rows))
      case .numbers: throw unfit(input, kind, "it takes sequences, texts, single pictures and spectrograms")
      case .sequence(let size, let longest):
        return PreparedEncoder(encoder: encoder([length ?? longest, size], .rows))
      case .text(let words):
        let tokens: TextTokens
        if let tokenizer {
          tokens = TextTokens(try WordPieceTokenizer(folder: tokenizer), length: max(2, length ?? 40))
        } else if !words.isEmpty {
          tokens = TextTokens(words: words, length: length ?? 40)
        } else {
          throw unfit(
            input, kind, "the data set has no list of words; name a folder with a WordPiece 'tokenizer'")
        }
        return PreparedEncoder(
          encoder: encoder([tokens.length], .tokens(vocabulary: tokens.vocabulary)), text: .tokens(tokens),
          files: tokenizer.map(tokenizerFiles) ?? [])
      }
    }
  }

  private static func resnet18(
    _ reader: ExperimentReader, _ base: URL
  ) throws -> (ModalityInput) throws -> PreparedEncoder {
    let weights = try reader.place("weights", relativeTo: base)
    let averages = try reader.bool("average_channels", default: false)
    let precision = try reader.choice("precision", default: Convolution.Precision.exact)
    return { input in
      guard case .numbers(let shape, _) = input.form, 3...4 ~= shape.count else {
        throw unfit(input, .resnet18, "it takes pictures, frames, flow and spectrograms")
      }
      let stored = try weights.map { url in
        try ResNet18(channels: shape[shape.count - 1]).weights(
          in: SafetensorsFile(path: url.path), firstConvolution: averages ? .averaged : .asStored)
      }
      return PreparedEncoder(
        encoder: ResNet18Encoder(inputShape: shape, precision: precision, weights: stored),
        files: weights.map { [$0] } ?? [])
    }
  }
}
