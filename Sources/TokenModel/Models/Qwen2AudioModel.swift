public import TensorCore

/// `qwen2_audio`: Qwen2-Audio. Log-mel sound passes an encoder like Whisper's and one linear layer and stands among the rows
/// of a Qwen2 decoder.
///
///     audio rows = linear(encoder(log-mel)),   about 25 rows for a second
///
/// Source: Chu et al., "Qwen2-Audio Technical Report", 2024, arXiv:2407.10759, section 2.
public struct Qwen2AudioModel: LanguageModel {
  /// `model_type` of the configuration.
  public static let modelType = "qwen2_audio"
  /// One line about the family.
  public static let summary = "Qwen2-Audio: sound through a Whisper-like encoder into a Qwen2 decoder"
  /// How the parts are called on the Hub and by `save_pretrained`, and inside transformers 5.
  public static let keys = KeyLayout([
    "model": ["language_model.model", "model.language_model"],
    "lm_head": ["language_model.lm_head", "lm_head"],
    "audio_tower": ["audio_tower", "model.audio_tower"],
    "multi_modal_projector": ["multi_modal_projector", "model.multi_modal_projector"],
  ])

  /// The decoder.
  public var decoder: LLaMADecoder
  /// The encoder of sounds.
  public let encoder: WhisperEncoder
  private let projector: any LinearLayer  // multi_modal_projector.linear
  private let audioID: Int
  /// The modalities of media the model takes.
  public let modalities: [Modality] = [.audio]

  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ reader: ConfigurationReader, weights source: WeightSource) throws {
    let weights = source.with(Self.keys)
    let textReader = try reader.section("text_config") ?? reader.defaults("text_config")
    let text = try LLaMAConfiguration(
      textReader, defaults: .of(textReader, default: .qwen2), outer: reader)
    let audio = try reader.section("audio_config") ?? reader.defaults("audio_config")
    try audio.refuse("model_type", unless: ["qwen2_audio_encoder"])
    decoder = try LLaMADecoder(text, weights: weights)
    encoder = try WhisperEncoder(audio, weights: weights.under("audio_tower"))
    projector = try weights.under("multi_modal_projector").linear(
      "linear", from: encoder.width, to: text.hiddenSize, hasBias: true)
    let fallback = 151_646
    audioID = try reader.integer(
      reader.has("audio_token_id") ? "audio_token_id" : "audio_token_index",
      in: 0...(text.vocabularySize - 1), default: fallback < text.vocabularySize ? fallback : nil)
  }

  /// The one tower.
  public var towers: [(tower: TensorName.Tower, layerCount: Int)] { [(.audio, encoder.layerCount)] }
  /// The encoder's output after pooling and its last norm.
  public func lastHiddenState(of tower: TensorName.Tower) -> String { "audio.finalNorm" }
  /// `audio_token_index`.
  public func placeholderID(of modality: Modality) -> Int? { modality == .audio ? audioID : nil }

  /// The longest sound, all 0.
  public func exampleMedium(of modality: Modality) -> Medium? {
    guard modality == .audio else { return nil }
    return medium(
      [Float](repeating: 0, count: encoder.inputShape.reduce(1, *)), frames: encoder.inputShape[1],
      identity: "")
  }

  private func medium(_ numbers: [Float], frames: Int, identity: String) -> Medium {
    var layout = Medium.Layout()
    layout.frameCount = frames
    return Medium(
      modality: .audio, shape: encoder.inputShape, values: .numbers(numbers), layout: layout,
      identity: identity)
  }

  /// Checks that a sound is log-mel numbers, padded, with at least three frames before the padding.
  public func validate(_ medium: Medium, sample: String) throws(PromptError) {
    guard medium.modality == .audio else {
      throw .unsupportedModality(
        sample: sample, modality: medium.modality.rawValue, supported: modalities.map(\.rawValue))
    }
    guard medium.shape == encoder.inputShape else {
      throw .wrongMediumShape(
        sample: sample, modality: "audio", found: medium.shape, expected: encoder.inputShape)
    }
    guard 3...encoder.inputShape[1] ~= frameCount(of: medium) else {
      throw .unusableMedium(
        sample: sample, modality: "audio", found: "\(frameCount(of: medium)) frames of sound",
        expected: "3 to \(encoder.inputShape[1])")
    }
    try medium.requireNumbers(sample: sample)
  }

  /// Frames before the padding; all unless the medium says.
  private func frameCount(of medium: Medium) -> Int { medium.layout.frameCount ?? encoder.inputShape[1] }

  /// One row for each pair of heard positions.
  public func rowParts(of medium: Medium) -> [MediumPart] {
    [.grid(SpanMap.Grid(rows: 1, columns: WhisperEncoder.rowCount(frames: frameCount(of: medium))))]
  }

  /// The projected rows, `[rows, hidden]`.
  ///
  /// - Parameter options: With observers positions of padding are computed too, so that they see what other programs have.
  public func mediumEmbeddings(_ medium: Medium, options: ForwardOptions) -> Tensor {
    let (frames, isWatched) = (frameCount(of: medium), !options.observers.isEmpty)
    let rows = encoder(
      [Tensor(medium.numbers, shape: medium.shape)], frameCounts: [frames], includesPadding: isWatched,
      options: options)
    return projected(rows, lengths: [rows.rows], options: options).slice(
      0..<WhisperEncoder.rowCount(frames: frames))
  }

  /// The linear layer behind the encoder.
  ///
  /// - Parameters:
  ///   - rows: `[rows, encoder width]`.
  ///   - lengths: The rows of each sound.
  func projected(_ rows: Tensor, lengths: [Int], options: ForwardOptions) -> Tensor {
    let pass = ForwardPass(.audio, lengths: lengths, role: .audio, options: options)
    return pass.site(.projected, projector(rows, pass.context))
  }

  /// `input_features` `[sounds, mel bins, frames]` and `feature_attention_mask` `[sounds, frames]`.
  public var mediaInputs: [String] { ["input_features", "feature_attention_mask"] }

  /// A sound for each row of `input_features`.
  public func media(from tensors: MediaTensors) throws -> [Medium] {
    let shape = encoder.inputShape
    let name = "feature_attention_mask"
    guard let features = try tensors.floats("input_features", shape: [nil] + shape) else {
      if tensors.has(name) { throw tensors.missing("input_features") }
      return []
    }
    guard let mask = try tensors.integers(name, shape: [features.shape[0], shape[1]]) else {
      throw tensors.missing(name)
    }
    let size = shape.reduce(1, *)
    return try (0..<features.shape[0]).map { index in
      let bits = mask.values[index * shape[1]..<(index + 1) * shape[1]]
      let frames = bits.prefix { $0 == 1 }.count
      guard bits.dropFirst(frames).allSatisfy({ $0 == 0 }) else {
        throw TraceError.wrongValue(
          path: tensors.path, name: name, found: "a row that is not 1, 1, …, 0, 0, …",
          expected: "1 for the frames of sound and 0 for the padding after them")
      }
      return medium(
        Array(features.values[index * size..<(index + 1) * size]), frames: frames,
        identity: "input_features/\(index)")
    }
  }

  /// The whole prompt is encoded at once, as the processor does.
  public let encodesPromptAsOneText = true
  /// `<|im_start|>user\nAudio 1: <|audio_bos|>…<|audio_eos|>\n…<|im_end|>\n<|im_start|>assistant\n`.
  public func format(_ sample: Sample) throws -> [FormattedPart] {
    try ChatMLFormat.audio.parts(sample, modalities: modalities)
  }
}
