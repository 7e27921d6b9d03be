public import TensorCore

/// `avt_llama`: a LLaMA decoder over text, image patches and log-mel frames.
///
///     text row     embed_tokens[id] + modality_embed[0]
///     image row p  image_embed (patch p) + image_position[p] + modality_embed[1]
///     audio row t  audio_embed (frames of t) + audio_position[t] + modality_embed[2]
///
/// Media are bytes, normalised as (byte / 255 − mean) / std. Patches lie row by row, each flattened as channel, row,
/// column; an audio token holds `frames_per_token` frames, one whole frame after another. Every placeholder id is replaced
/// in place; the mask is causal over the whole sequence.
public struct AVTLlamaModel: LanguageModel {
  /// `model_type` of the configuration.
  public static let modelType = "avt_llama"
  /// One line about the family.
  public static let summary =
    "audio-visual-text LLaMA: image patches and log-mel frames as rows of the decoder"

  /// How one modality of media becomes rows.
  struct MediumEmbedding: Sendable {
    let placeholderID: Int
    let mean: Float
    let standardDeviation: Float
    let projection: any LinearLayer  // image_embed, audio_embed
    let positions: Tensor  // image_position, audio_position: [rows, hidden]
    let modality: Tensor  // the row of modality_embed: [hidden]
  }

  /// The image part of the configuration.
  struct ImageSettings: Sendable {
    let channels: Int
    let height: Int
    let width: Int
    let patchSize: Int
    var grid: SpanMap.Grid { SpanMap.Grid(rows: height / patchSize, columns: width / patchSize) }
  }

  /// The audio part of the configuration.
  struct AudioSettings: Sendable {
    let melBins: Int
    let frames: Int
    let framesPerToken: Int
    var grid: SpanMap.Grid { SpanMap.Grid(rows: 1, columns: frames / framesPerToken) }
  }

  /// The decoder.
  public var decoder: LLaMADecoder
  let imageSettings: ImageSettings
  let audioSettings: AudioSettings
  private let image: MediumEmbedding
  private let audio: MediumEmbedding
  private let textModality: Tensor
  /// The modalities of media the model takes.
  public let modalities: [Modality] = [.image, .audio]

  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ reader: ConfigurationReader, weights: WeightSource) throws {
    let text = try LLaMAConfiguration(try reader.requiredSection("text_config"))
    let imageReader = try reader.requiredSection("image_config")
    let audioReader = try reader.requiredSection("audio_config")
    imageSettings = try Self.imageSettings(imageReader)
    audioSettings = try Self.audioSettings(audioReader)
    decoder = try LLaMADecoder(text, weights: weights)
    let hidden = text.hiddenSize
    let modality = try weights.tensor("modality_embed.weight", shape: [3, hidden])
    textModality = modality.slice(0..<1).reshaped(to: [hidden])
    func embedding(
      _ name: String, _ reader: ConfigurationReader, inputSize: Int, rows: Int, modalityRow: Int, id: Int
    ) throws -> MediumEmbedding {
      MediumEmbedding(
        placeholderID: id, mean: Float(try reader.number("mean", above: -1e6)),
        standardDeviation: Float(try reader.number("std", above: 0)),
        projection: try weights.linear("\(name)_embed", from: inputSize, to: hidden, hasBias: true),
        positions: try weights.tensor("\(name)_position.weight", shape: [rows, hidden]),
        modality: modality.slice(modalityRow..<modalityRow + 1).reshaped(to: [hidden]))
    }
    let ids = 0...(text.vocabularySize - 1)
    image = try embedding(
      "image", imageReader,
      inputSize: imageSettings.channels * imageSettings.patchSize * imageSettings.patchSize,
      rows: imageSettings.grid.rows * imageSettings.grid.columns, modalityRow: 1,
      id: try reader.integer("image_token_id", in: ids))
    audio = try embedding(
      "audio", audioReader, inputSize: audioSettings.framesPerToken * audioSettings.melBins,
      rows: audioSettings.grid.columns, modalityRow: 2, id: try reader.integer("audio_token_id", in: ids))
    guard image.placeholderID != audio.placeholderID else {
      throw ConfigurationError.outOfRange(
        path: reader.path, key: "audio_token_id", found: "\(audio.placeholderID)",
        expected: "another id than image_token_id")
    }
  }

  private static func imageSettings(_ reader: ConfigurationReader) throws(ConfigurationError) -> ImageSettings
  {
    let settings = ImageSettings(
      channels: try reader.integer("channels", in: 1...64),
      height: try reader.integer("height", in: 1...4096),
      width: try reader.integer("width", in: 1...4096),
      patchSize: try reader.integer("patch_size", in: 1...4096))
    guard settings.height % settings.patchSize == 0, settings.width % settings.patchSize == 0 else {
      throw .outOfRange(
        path: reader.path, key: "image_config.patch_size", found: "\(settings.patchSize)",
        expected: "a divisor of height \(settings.height) and width \(settings.width)")
    }
    return settings
  }

  private static func audioSettings(_ reader: ConfigurationReader) throws(ConfigurationError) -> AudioSettings
  {
    let settings = AudioSettings(
      melBins: try reader.integer("mel_bins", in: 1...4096),
      frames: try reader.integer("frames", in: 1...(1 << 20)),
      framesPerToken: try reader.integer("frames_per_token", in: 1...4096))
    guard settings.frames % settings.framesPerToken == 0 else {
      throw .outOfRange(
        path: reader.path, key: "audio_config.frames_per_token", found: "\(settings.framesPerToken)",
        expected: "a divisor of frames \(settings.frames)")
    }
    return settings
  }

  /// What one medium must look like; nil if the modality is not taken.
  public func mediumShape(of modality: Modality) -> [Int]? {
    switch modality {
    case .image: [imageSettings.channels, imageSettings.height, imageSettings.width]
    case .audio: [audioSettings.melBins, audioSettings.frames]
    default: nil
    }
  }

  /// The placeholder id of a modality; nil if it is not taken.
  public func placeholderID(of modality: Modality) -> Int? {
    switch modality {
    case .image: image.placeholderID
    case .audio: audio.placeholderID
    default: nil
    }
  }

  /// The grid of rows a medium becomes.
  public func grid(of medium: Medium) -> SpanMap.Grid {
    medium.modality == .image ? imageSettings.grid : audioSettings.grid
  }

  /// A medium of the right size, all 0; nil if the modality is not taken.
  public func exampleMedium(of modality: Modality) -> Medium? {
    mediumShape(of: modality).map { shape in
      let bytes = [UInt8](repeating: 0, count: shape.reduce(1, *))
      return Medium(modality: modality, shape: shape, bytes: bytes, identity: "")
    }
  }

  /// Checks that a medium is bytes of the one shape the model takes.
  public func validate(_ medium: Medium, sample: String) throws(PromptError) {
    guard let shape = mediumShape(of: medium.modality), shape == medium.shape else {
      throw .wrongMediumShape(
        sample: sample, modality: medium.modality.rawValue, found: medium.shape,
        expected: mediumShape(of: medium.modality) ?? [])
    }
    guard medium.bytes.count == shape.reduce(1, *) else {
      throw .unusableMedium(
        sample: sample, modality: medium.modality.rawValue,
        found: "\(medium.bytes.count) bytes", expected: "\(shape.reduce(1, *)) bytes")
    }
  }

  /// The one grid of a medium.
  public func rowParts(of medium: Medium) -> [MediumPart] { [.grid(grid(of: medium))] }

  /// The rows of text ids, `[ids, hidden]`.
  public func textEmbeddings(_ ids: [Int]) -> Tensor { decoder.embedding.rows(ids) + textModality }

  /// The rows of one medium, `[rows, hidden]`.
  public func mediumEmbeddings(_ medium: Medium, options: ForwardOptions) -> Tensor {
    let elements = normalised(medium)
    let inputs = inputOrder(of: medium.modality).map { elements[$0] }
    let size = embedding(of: medium.modality).projection.inputSize
    return mediaEmbeddings(medium.modality, inputs: Tensor(inputs, shape: [inputs.count / size, size]))
  }

  /// The rows of one medium whose normalised input is 0 everywhere, `[rows, hidden]`.
  public func blankEmbeddings(_ medium: Medium) -> Tensor {
    let size = embedding(of: medium.modality).projection.inputSize
    return mediaEmbeddings(medium.modality, inputs: Tensor(zeros: [medium.values.count / size, size]))
  }

  /// The rows of several media of one modality, one medium after another, `[media * rows, hidden]`.
  ///
  /// - Parameter inputs: `[media * rows, input size]`: normalised elements in the order of `inputOrder`.
  public func mediaEmbeddings(_ modality: Modality, inputs: Tensor) -> Tensor {
    let embedding = embedding(of: modality)
    let (rows, hidden) = (embedding.positions.shape[0], embedding.positions.shape[1])
    let count = inputs.rows / rows
    require(inputs.rows == count * rows, "\(inputs.rows) input rows for media of \(rows)")
    let projected = embedding.projection(
      inputs, .rows(lengths: Array(repeating: rows, count: count), role: modality.role ?? .image))
    return
      (projected.reshaped(to: [count, rows, hidden]) + embedding.positions + embedding.modality)
      .reshaped(to: [count * rows, hidden])
  }

  /// The elements of a medium as (byte / 255 − mean) / std, in the order of its shape.
  public func normalised(_ medium: Medium) -> [Float] {
    let embedding = embedding(of: medium.modality)
    return medium.bytes.map { (Float($0) / 255 - embedding.mean) / embedding.standardDeviation }
  }

  /// For every input of the rows of a medium, row by row, the number of the element it is.
  public func inputOrder(of modality: Modality) -> [Int] { modality == .image ? imageOrder : audioOrder }

  private func embedding(of modality: Modality) -> MediumEmbedding { modality == .image ? image : audio }

  /// Element numbers of an image in the order of its patches: channel, row, column within each.
  private var imageOrder: [Int] {
    let (settings, patch) = (imageSettings, imageSettings.patchSize)
    var order: [Int] = []
    for top in stride(from: 0, to: settings.height, by: patch) {
      for left in stride(from: 0, to: settings.width, by: patch) {
        for channel in 0..<settings.channels {
          for row in top..<top + patch {
            for column in left..<left + patch {
              order.append((channel * settings.height + row) * settings.width + column)
            }
          }
        }
      }
    }
    return order
  }

  /// Element numbers of a log-mel `[mel, frame]` frame by frame.
  private var audioOrder: [Int] {
    (0..<audioSettings.frames).flatMap { frame in
      (0..<audioSettings.melBins).map { $0 * audioSettings.frames + frame }
    }
  }

  /// `image_u8` `[media, channels, height, width]` and `audio_u8` `[media, mel bins, frames]`.
  public var mediaInputs: [String] { modalities.map { "\($0.rawValue)_u8" } }

  /// Bytes of each modality; sound may have a channel axis of 1.
  public func media(from tensors: MediaTensors) throws -> [Medium] {
    try modalities.flatMap { modality -> [Medium] in
      let shape = mediumShape(of: modality) ?? []
      return try tensors.bytes("\(modality.rawValue)_u8", shape: shape).enumerated().map { index, bytes in
        Medium(
          modality: modality, shape: shape, bytes: bytes, identity: "\(modality.rawValue)_u8/\(index)")
      }
    }
  }

  /// The format below is part of the model; its folder has no template.
  public var usesChatTemplate: Bool { false }

  /// `<s> <|user|> … <|assistant|> … </s>`, the media where their placeholders stand.
  public func format(_ sample: Sample) throws -> [FormattedPart] {
    var parts: [FormattedPart] = [.begin]
    for turn in sample.turns {
      switch turn.speaker {
      case .system:
        throw PromptError.unsupportedSpeaker(sample: sample.id, speaker: "system")
      case .user:
        parts.append(.text("<|user|>", role: .instruction))
        parts += FormattedPart.splitting(turn.text, at: modalities, role: .question)
      case .assistant:
        parts.append(.text("<|assistant|>", role: .instruction))
        parts.append(.text(turn.text, role: .response))
        parts.append(.end)
      }
    }
    guard sample.turns.last?.speaker == .user else { throw PromptError.noUserTurn(sample: sample.id) }
    parts.append(.text("<|assistant|>", role: .instruction))
    return parts
  }
}
