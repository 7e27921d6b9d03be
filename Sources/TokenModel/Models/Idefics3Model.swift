import RunKit
public import TensorCore

/// `idefics3` and `smolvlm`: Idefics3 and SmolVLM. The tiles of an image and an overview of it pass a SigLIP encoder; blocks of
/// patches become rows of a LLaMA decoder, between marks that say which tile they are.
///
///     tile rows = modality_projection(pixel shuffle(encoder(tile)))
///
/// The marks are ids of the text: `<row_1_col_1>`, `<global-img>` and so on. Their rows have the role separator. The frames of
/// a video are tiles with the time of each in the text.
///
/// Sources: Laurençon et al., "Building and better understanding vision-language models", 2024, arXiv:2408.12637, section 3;
/// Marafioti et al., "SmolVLM", 2025, arXiv:2504.05299, section 2.
public struct Idefics3Model: LanguageModel {
  /// `model_type` of the configuration; SmolVLM's is `smolvlm`.
  public static let modelType = "idefics3"
  /// One line about the family.
  public static let summary =
    "Idefics3: tiles of an image through SigLIP and a pixel shuffle into a LLaMA decoder"
  /// `model_type` of SmolVLM.
  public static let smolModelType = "smolvlm"
  /// One line about SmolVLM.
  public static let smolSummary = "SmolVLM: as Idefics3, with small towers and SmolLM2 decoders"
  /// How the parts are called.
  public static let keys = KeyLayout([
    "model": ["model.text_model"], "vision_model": ["model.vision_model"], "connector": ["model.connector"],
  ])

  /// The decoder.
  public var decoder: LLaMADecoder
  /// The tower and the connector.
  public let tower: IdeficsVisionTower
  private let imageID: Int
  /// The side of the tiles the tower was made for.
  let side: Int
  /// The modalities of media the model takes: images, and of SmolVLM videos.
  public let modalities: [Modality]

  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ reader: ConfigurationReader, weights source: WeightSource) throws {
    let weights = source.with(Self.keys)
    let textReader = try reader.section("text_config") ?? reader.defaults("text_config", Self.textDefaults)
    let text = try LLaMAConfiguration(textReader, defaults: .of(textReader), outer: reader)
    try reader.section("vision_config")?.refuse(
      "model_type", unless: ["idefics3", "idefics3_vision", "smolvlm", "smolvlm_vision"])
    decoder = try LLaMADecoder(text, weights: weights)
    tower = try IdeficsVisionTower(reader, outputWidth: text.hiddenSize, weights: weights)
    side = tower.imageSize
    guard tower.takes(tile: [tower.channels, side, side]) else {
      throw ConfigurationError.outOfRange(
        path: reader.path, key: "scale_factor", found: "\(tower.scale)",
        expected: "a divisor of the patches along a side of vision_config.image_size")
    }
    let fallback = 128_257
    modalities =
      try reader.string("model_type", default: "") == Self.smolModelType ? [.image, .video] : [.image]
    imageID = try reader.integer(
      "image_token_id", in: 0...(text.vocabularySize - 1),
      default: fallback < text.vocabularySize ? fallback : nil)
  }

  /// The decoder of a configuration without `text_config`.
  private static let textDefaults = JSONObject([("model_type", "llama"), ("rms_norm_eps", 1e-5)])

  /// The one tower.
  public var towers: [(tower: TensorName.Tower, layerCount: Int)] { [(.vision, tower.layerCount)] }
  /// The encoder's output after its last norm.
  public func lastHiddenState(of tower: TensorName.Tower) -> String { "vision.finalNorm" }
  /// `image_token_id`, also of the frames of a video.
  public func placeholderID(of modality: Modality) -> Int? { modalities.contains(modality) ? imageID : nil }
  /// A video has a mark of its own in a text.
  public func placeholderText(of modality: Modality, _ tokenizer: any Tokenizer) -> String? {
    modality == .video && modalities.contains(.video) ? "<video>" : tokenizer.piece(imageID)
  }
  /// The processor lays out conversations with videos in its own way, whatever the folder says.
  public func usesChatTemplate(for sample: Sample) -> Bool {
    !sample.media.contains { $0.modality == .video }
  }

  /// One tile of the tower's size, all 0.
  public func exampleMedium(of modality: Modality) -> Medium? {
    guard modality == .image else { return nil }
    let shape = [1, tower.channels, side, side]
    return Medium(
      modality: .image, shape: shape, values: .numbers([Float](repeating: 0, count: shape.reduce(1, *))),
      identity: "")
  }

  /// Checks that an image is normalised tiles, square and of whole blocks of patches.
  public func validate(_ medium: Medium, sample: String) throws(PromptError) {
    if medium.modality == .video && modalities.contains(.video) {
      return try validateVideo(medium, sample: sample)
    }
    guard medium.modality == .image else {
      throw .unsupportedModality(
        sample: sample, modality: medium.modality.rawValue, supported: modalities.map(\.rawValue))
    }
    let shape = medium.shape
    guard shape.count == 4, 1...4096 ~= shape[0], tower.takes(tile: Array(shape.dropFirst())) else {
      throw .wrongMediumShape(
        sample: sample, modality: "image", found: shape,
        expected: [shape.first ?? 1, tower.channels, side, side])
    }
    let layout = medium.layout
    let tiles = (layout.tiles?.height ?? 0) * (layout.tiles?.width ?? 0)
    guard tiles == 0 || shape[0] == tiles + 1 else {
      throw .unusableMedium(
        sample: sample, modality: "image", found: "\(shape[0]) tiles",
        expected: "\(tiles) and an overview, as its layout says")
    }
    let sides = 1...shape[2]
    guard layout.visibleSizes.isEmpty || layout.visibleSizes.count == shape[0],
      layout.visibleSizes.allSatisfy({ sides ~= $0.height && sides ~= $0.width })
    else {
      throw .unusableMedium(
        sample: sample, modality: "image", found: "visible parts \(layout.visibleSizes.prefix(8))",
        expected: "one for each of \(shape[0]) tiles, within them")
    }
    try medium.requireNumbers(sample: sample)
  }

  /// A grid for each tile, marks between them.
  public func rowParts(of medium: Medium) -> [MediumPart] {
    let size = tower.rowsPerSide(ofTile: medium.shape[2])
    let grid = MediumPart.grid(SpanMap.Grid(rows: size, columns: size))
    return (0..<medium.shape[0]).flatMap { $0 == 0 ? [grid] : [.marks, grid] }
  }

  /// The projected blocks, `[rows, hidden]`, tile by tile.
  public func mediumEmbeddings(_ medium: Medium, options: ForwardOptions) -> Tensor {
    let (count, side) = (medium.shape[0], medium.shape[2])
    let whole = [Medium.Extent](repeating: Medium.Extent(height: side, width: side), count: count)
    let visible = medium.layout.visibleSizes
    return tower(medium.numbers, side: side, visible: visible.isEmpty ? whole : visible, options: options)
  }

  /// `pixel_values` `[sequences, tiles, channels, side, side]` and `pixel_attention_mask` `[sequences, tiles, side, side]`.
  public var mediaInputs: [String] { ["pixel_values", "pixel_attention_mask"] }

  /// An image of one tile for each tile of `pixel_values` that is not all 0, as the reference drops those.
  public func media(from tensors: MediaTensors) throws -> [Medium] {
    let maskName = "pixel_attention_mask"
    guard let pixels = try tensors.floats("pixel_values", shape: [nil, nil, tower.channels, nil, nil]) else {
      if tensors.has(maskName) { throw tensors.missing("pixel_values") }
      return []
    }
    let shape = [1] + pixels.shape.dropFirst(2)
    let (count, area) = (pixels.shape[0] * pixels.shape[1], shape[2] * shape[3])
    let size = tower.channels * area
    let mask = try tensors.integers(
      maskName, shape: [pixels.shape[0], pixels.shape[1], shape[2], shape[3]])
    var media: [Medium] = []
    for index in 0..<count {
      let own = Array(pixels.values[index * size..<(index + 1) * size])
      if own.allSatisfy({ $0 == 0 }) { continue }
      var layout = Medium.Layout()
      if let mask {
        let bits = mask.values[index * area..<(index + 1) * area]
        guard let visible = Self.visible(Array(bits), width: shape[3]) else {
          throw TraceError.wrongValue(
            path: tensors.path, name: maskName, found: "tile \(index) with another shape of 1",
            expected: "a rectangle of 1 from the top left, and 0 around it")
        }
        layout.visibleSizes = [visible]
      }
      media.append(
        Medium(
          modality: .image, shape: shape, values: .numbers(own), layout: layout,
          identity: "pixel_values/\(index)"))
    }
    return media
  }

  /// Height and width of a rectangle of 1 from the top left; nil where the mask is none.
  private static func visible(_ bits: [Int], width: Int) -> Medium.Extent? {
    let columns = bits.prefix(width).prefix { $0 != 0 }.count
    let rows = stride(from: 0, to: bits.count, by: width).prefix { bits[$0] != 0 }.count
    guard rows > 0, columns > 0 else { return nil }
    let isRectangle = bits.indices.allSatisfy { place in
      (bits[place] != 0) == (place / width < rows && place % width < columns)
    }
    return isRectangle ? Medium.Extent(height: rows, width: columns) : nil
  }

  /// The whole prompt is encoded at once, as the processor does.
  public let encodesPromptAsOneText = true

  /// `User:<image>…<end_of_utterance>\nAssistant:` after the id that begins a sequence; placeholders are written out between
  /// the marks of their tiles.
  ///
  /// Source: the chat templates and processors of Idefics3-8B-Llama3 and SmolVLM-Instruct.
  public func format(_ sample: Sample) throws -> [FormattedPart] {
    guard sample.turns.last?.speaker == .user else { throw PromptError.noUserTurn(sample: sample.id) }
    var parts: [FormattedPart] = [.begin]
    var media = sample.media[...]
    for turn in sample.turns {
      let name = turn.speaker.rawValue.prefix(1).uppercased() + turn.speaker.rawValue.dropFirst()
      let role: Role =
        switch turn.speaker {
        case .system: .system
        case .user: .question
        case .assistant: .response
        }
      let content = FormattedPart.splitting(turn.text, at: modalities, role: role)
      let startsWithImage = content.first == .placeholder(.image)
      parts.append(.text(name + (startsWithImage ? ":" : ": "), role: .instruction))
      for part in content {
        if case .placeholder(let modality) = part,
          let place = media.firstIndex(where: { $0.modality == modality })
        {
          let medium = media.remove(at: place)
          try validate(medium, sample: sample.id)
          parts += writtenParts(of: medium) ?? []
        } else {
          parts.append(part)
        }
      }
      parts.append(.text("<end_of_utterance>\n", role: .instruction))
    }
    return parts + [.text("Assistant:", role: .instruction)]
  }

  /// The marks of the tiles are text that the processor writes.
  public func writtenParts(of medium: Medium) -> [FormattedPart]? {
    medium.modality == .video ? videoParts(medium) : imageParts(medium)
  }

  /// The rows of an image with the marks of its tiles.
  private func imageParts(_ image: Medium) -> [FormattedPart] {
    let fake = "<fake_token_around_image>"
    let size = tower.rowsPerSide(ofTile: image.shape[2])
    let rows = [FormattedPart](repeating: .placeholder(.image), count: size * size)
    let tiles = image.layout.tiles ?? Medium.Extent(height: 0, width: 0)
    var parts: [FormattedPart] = []
    for row in 0..<(tiles.width > 0 ? tiles.height : 0) {
      for column in 0..<tiles.width {
        parts.append(.text("\(fake)<row_\(row + 1)_col_\(column + 1)>", role: .separator))
        parts += rows
      }
      parts.append(.text("\n", role: .separator))
    }
    parts.append(.text((parts.isEmpty ? "" : "\n") + fake + "<global-img>", role: .separator))
    return parts + rows + [.text(fake, role: .separator)]
  }
}
