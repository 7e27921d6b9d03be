public import TensorCore

/// Qwen2-VL.
public typealias Qwen2VLModel = QwenVLModel<Qwen2VisionTower>
/// Qwen2.5-VL.
public typealias Qwen2_5VLModel = QwenVLModel<Qwen2_5VisionTower>

/// The vision tower of a family of Qwen2-VL, and what the family is called by.
public protocol QwenVisionTower: Sendable {
  /// `model_type` of the configuration.
  static var modelType: String { get }
  /// One line about the family.
  static var summary: String { get }
  /// Takes the weights out of a checkpoint.
  ///
  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  init(_ reader: ConfigurationReader, outputWidth: Int, weights: WeightSource) throws
  /// Patches beside each other that become one row, in each direction.
  var mergeSize: Int { get }
  /// Numbers in a patch.
  var patchCount: Int { get }
  /// The number of layers.
  var layerCount: Int { get }
  /// Positions in time for a second of video; nil where a step in time is one position.
  var stepsPerSecond: Int? { get }
  /// Turns media into rows of the decoder, `[blocks of patches, output width]`.
  func callAsFunction(
    _ patches: Tensor, grids: [Medium.PatchGrid], role: Role, options: ForwardOptions
  ) -> Tensor
}

/// `qwen2_vl` and `qwen2_5_vl`: Qwen2-VL and Qwen2.5-VL. Images and videos of any size pass a vision transformer without
/// learned positions, which is what the two differ in.
///
///     image or video rows = merger(tower(patches)),   one row for each block of patches
///
/// The decoder is that of Qwen2 with rotary positions on three axes: time, height and width; text turns by all three
/// alike. Where the tower says so, positions in time follow the seconds of a video.
///
/// Sources: Wang et al., "Qwen2-VL", 2024, arXiv:2409.12191, section 2.1; Bai et al., "Qwen2.5-VL", 2025, arXiv:2502.13923,
/// section 2.1.
public struct QwenVLModel<Tower: QwenVisionTower>: LanguageModel {
  /// `model_type` of the configuration.
  public static var modelType: String { Tower.modelType }
  /// One line about the family.
  public static var summary: String { Tower.summary }
  /// How the parts are called on the Hub and by transformers 5, and in between.
  public static var keys: KeyLayout {
    KeyLayout([
      "model": ["model.language_model", "model", "language_model.model"],
      "lm_head": ["lm_head", "language_model.lm_head"],
      "visual": ["visual", "model.visual"],
    ])
  }

  /// The decoder.
  public var decoder: LLaMADecoder
  /// The tower of images and videos.
  public let tower: Tower
  private let prepared: QwenVLMedia
  /// The modalities of media the model takes.
  public let modalities: [Modality] = [.image, .video]

  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ reader: ConfigurationReader, weights source: WeightSource) throws {
    let weights = source.with(Self.keys)
    let text = try QwenVLMedia.text(reader, modelTypes: [Self.modelType, Self.modelType + "_text"])
    let vision = try reader.section("vision_config") ?? reader.defaults("vision_config")
    try vision.refuse("model_type", unless: [.string(Self.modelType), .string(Self.modelType + "_vision")])
    decoder = try LLaMADecoder(text, weights: weights)
    tower = try Tower(vision, outputWidth: text.hiddenSize, weights: weights.under("visual"))
    prepared = try QwenVLMedia(
      reader, text: text, mergeSize: tower.mergeSize, patchSize: tower.patchCount,
      stepsPerSecond: tower.stepsPerSecond)
  }

  /// The one tower.
  public var towers: [(tower: TensorName.Tower, layerCount: Int)] { [(.vision, tower.layerCount)] }
  /// `image_token_id` or `video_token_id`.
  public func placeholderID(of modality: Modality) -> Int? { prepared.placeholderID(of: modality) }
  /// The marks around media are separators.
  public func fixedRole(of id: Int) -> Role? { prepared.fixedRole(of: id) }
  /// A medium of four by four blocks, all 0; a video has two steps.
  public func exampleMedium(of modality: Modality) -> Medium? { prepared.example(of: modality) }
  /// Checks that a medium is normalised patches in a grid of whole blocks.
  public func validate(_ medium: Medium, sample: String) throws(PromptError) {
    try prepared.validate(medium, sample: sample)
  }
  /// A grid of rows for each step in time.
  public func rowParts(of medium: Medium) -> [MediumPart] { prepared.rowParts(of: medium) }
  /// Positions in time, height and width.
  public func positions(_ spans: SpanMap, media: [Medium]) -> RowPositions {
    prepared.positions(spans, media: media)
  }

  /// The merged patches, `[blocks, hidden]`.
  public func mediumEmbeddings(_ medium: Medium, options: ForwardOptions) -> Tensor {
    guard let grid = medium.layout.patchGrid else {
      return Tensor(zeros: [0, decoder.configuration.hiddenSize])
    }
    return tower(
      Tensor(medium.numbers, shape: medium.shape), grids: [grid], role: medium.modality.role ?? .image,
      options: options)
  }

  /// `pixel_values` and `pixel_values_videos` `[patches, numbers]` with `image_grid_thw` and `video_grid_thw` `[media, 3]`; where
  /// positions follow seconds, `second_per_grid_ts` `[videos]`: seconds between two steps.
  public var mediaInputs: [String] { prepared.inputs }
  /// An image or video for each row of the grids.
  public func media(from tensors: MediaTensors) throws -> [Medium] { try prepared.media(from: tensors) }

  /// The whole prompt is encoded at once, as the processor does.
  public let encodesPromptAsOneText = true
  /// `<|im_start|>user\n<|vision_start|>…<|vision_end|>…<|im_end|>\n<|im_start|>assistant\n`.
  public func format(_ sample: Sample) throws -> [FormattedPart] {
    try ChatMLFormat.vision.parts(sample, modalities: modalities)
  }
}
