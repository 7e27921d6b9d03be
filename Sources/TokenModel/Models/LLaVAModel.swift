import RunKit
public import TensorCore

/// `llava`: LLaVA-1.5 and its kin. Patches of a CLIP tower pass a small network and stand among the rows of a LLaMA-type
/// decoder.
///
///     image rows = linear_2(activation(linear_1(x))),   x = hidden state `vision_feature_layer` of the tower
///
/// With a list of layers x holds those states side by side. The strategy `default` leaves out the class row, `full` keeps
/// it. The rows of an image fill a grid of patches, row by row.
///
/// Source: Liu et al., "Improved Baselines with Visual Instruction Tuning", CVPR 2024, arXiv:2310.03744, section 3.
public struct LLaVAModel: LanguageModel {
  /// `model_type` of the configuration.
  public static let modelType = "llava"
  /// One line about the family.
  public static let summary =
    "LLaVA-1.5: CLIP patches through a two-layer projector into a LLaMA-type decoder"
  /// How the parts are called before transformers 4.52 and by 5, and from 4.52 to 4.57.
  public static let keys = KeyLayout([
    "model": ["language_model.model", "model.language_model"],
    "lm_head": ["language_model.lm_head", "lm_head"],
    "vision_tower": [
      "model.vision_tower.vision_model", "vision_tower.vision_model", "model.vision_tower", "vision_tower",
    ],
    "multi_modal_projector": ["model.multi_modal_projector", "multi_modal_projector"],
  ])

  /// The decoder.
  public var decoder: LLaMADecoder
  /// The image tower.
  public let tower: CLIPVisionTower
  let projector: VisionProjector
  private let imageID: Int
  /// The modalities of media the model takes.
  public let modalities: [Modality] = [.image]

  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ reader: ConfigurationReader, weights source: WeightSource) throws {
    let weights = source.with(Self.keys)
    let textReader = try reader.section("text_config") ?? reader.defaults("text_config")
    let text = try LLaMAConfiguration(textReader, defaults: .of(textReader), outer: reader)
    let vision = try CLIPVisionTower.Configuration(
      reader.section("vision_config") ?? reader.defaults("vision_config", Self.visionDefaults))
    decoder = try LLaMADecoder(text, weights: weights)
    tower = try CLIPVisionTower(vision, weights: weights.under("vision_tower"))
    projector = try VisionProjector(
      reader, layerCount: vision.layerCount, from: vision.hiddenSize, to: text.hiddenSize, weights: weights)
    imageID = try reader.integer(
      reader.has("image_token_id") ? "image_token_id" : "image_token_index",
      in: 0...(text.vocabularySize - 1),
      default: 32000)
  }

  /// The tower of LLaVA-1.5 where a configuration has no `vision_config`.
  static let visionDefaults = JSONObject([
    ("model_type", "clip_vision_model"), ("hidden_size", 1024), ("intermediate_size", 4096),
    ("num_hidden_layers", 24), ("num_attention_heads", 16), ("image_size", 336), ("patch_size", 14),
  ])

  /// The one tower.
  public var towers: [(tower: TensorName.Tower, layerCount: Int)] {
    [(.vision, tower.configuration.layerCount)]
  }
  /// `image_token_index`.
  public func placeholderID(of modality: Modality) -> Int? { modality == .image ? imageID : nil }

  /// Channels, height and width of an image.
  private var shape: [Int] {
    [tower.configuration.channels, tower.configuration.imageSize, tower.configuration.imageSize]
  }

  /// An image of the tower's size, all 0.
  public func exampleMedium(of modality: Modality) -> Medium? {
    guard modality == .image else { return nil }
    let values = [Float](repeating: 0, count: shape.reduce(1, *))
    return Medium(modality: .image, shape: shape, values: .numbers(values), identity: "")
  }

  /// Checks that an image is normalised numbers of the tower's size.
  public func validate(_ medium: Medium, sample: String) throws(PromptError) {
    guard medium.modality == .image else {
      throw .unsupportedModality(
        sample: sample, modality: medium.modality.rawValue, supported: inputNames)
    }
    guard medium.shape == shape else {
      throw .wrongMediumShape(sample: sample, modality: "image", found: medium.shape, expected: shape)
    }
    try medium.requireNumbers(sample: sample)
  }

  /// The grid of patches; the class row stands before it where it is kept.
  public func rowParts(of medium: Medium) -> [MediumPart] {
    let size = tower.configuration.gridSize
    let grid = MediumPart.grid(SpanMap.Grid(rows: size, columns: size))
    return projector.keepsClassRow ? [.grid(SpanMap.Grid(rows: 1, columns: 1)), grid] : [grid]
  }

  /// The projected patches, `[patches, hidden]`.
  public func mediumEmbeddings(_ medium: Medium, options: ForwardOptions) -> Tensor {
    let rows = projector(tower, pixels: medium.numbers, images: 1, options: options)
    return ForwardPass.projected(rows, .vision, role: .image, options: options)
  }

  /// `pixel_values` `[images, channels, height, width]`.
  public var mediaInputs: [String] { ["pixel_values"] }

  /// An image of each row of `pixel_values`.
  public func media(from tensors: MediaTensors) throws -> [Medium] {
    guard let pixels = try tensors.floats("pixel_values", shape: [nil] + shape) else { return [] }
    let size = shape.reduce(1, *)
    return (0..<pixels.shape[0]).map { index in
      Medium(
        modality: .image, shape: shape,
        values: .numbers(Array(pixels.values[index * size..<(index + 1) * size])),
        identity: "pixel_values/\(index)")
    }
  }

  /// The whole prompt is encoded at once, as the processor does.
  public let encodesPromptAsOneText = true

  /// ` answer</s>`.
  public func answerParts(_ answer: String) -> [FormattedPart] { VicunaFormat.answerParts(answer) }

  /// `USER: <image>\n… ASSISTANT:`, as the Hub's cards of LLaVA-1.5 say; a system text stands before.
  public func format(_ sample: Sample) throws -> [FormattedPart] {
    try VicunaFormat().parts(sample, modalities: modalities)
  }
}
