import TensorCore

/// From hidden states of an image tower to rows of a decoder, as in LLaVA and LLaVA-NeXT.
///
///     rows = linear_2(activation(linear_1(x))),   x = the chosen hidden states side by side
struct VisionProjector: Sendable {
  /// The chosen hidden states, from 0 (what enters layer 0) to the number of layers.
  let states: [Int]
  /// Whether the class row is kept (`vision_feature_select_strategy` is `full`).
  let keepsClassRow: Bool
  private let first: any LinearLayer  // multi_modal_projector.linear_1
  private let second: any LinearLayer  // multi_modal_projector.linear_2
  private let activation: Activation

  /// - Parameters:
  ///   - reader: The whole configuration.
  ///   - layerCount: Of the tower.
  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  init(
    _ reader: ConfigurationReader, layerCount: Int, from inputSize: Int, to hidden: Int, weights: WeightSource
  )
    throws
  {
    // Negative numbers count from the end: -1 is what leaves the last layer.
    let range = -(layerCount + 1)...layerCount
    let isList = reader.object["vision_feature_layer"]?.arrayValue != nil
    let chosen =
      isList
      ? try reader.integers("vision_feature_layer", in: range) ?? []
      : [try reader.integer("vision_feature_layer", in: range, default: -2)]
    guard !chosen.isEmpty else {
      throw ConfigurationError.outOfRange(
        path: reader.path, key: "vision_feature_layer", found: "[]", expected: "a layer or a list of layers")
    }
    states = chosen.map { $0 < 0 ? layerCount + 1 + $0 : $0 }
    let strategy = try reader.string("vision_feature_select_strategy", default: "default")
    guard ["default", "full"].contains(strategy) else {
      throw reader.unsupported(
        "vision_feature_select_strategy", found: "\"\(strategy)\"", supported: "default, full")
    }
    keepsClassRow = strategy == "full"
    activation = try Activation(reader, key: "projector_hidden_act", default: .gelu)
    let hasBias = try reader.bool("multimodal_projector_bias", default: true)
    let source = weights.under("multi_modal_projector")
    first = try source.linear("linear_1", from: inputSize * states.count, to: hidden, hasBias: hasBias)
    second = try source.linear("linear_2", from: hidden, to: hidden, hasBias: hasBias)
  }

  /// `[images * rows, hidden]` of images `[images, channels, size, size]`.
  func callAsFunction(_ tower: CLIPVisionTower, pixels: [Float], images: Int, options: ForwardOptions)
    -> Tensor
  {
    let states = tower.hiddenStates(pixels: pixels, images: images, states: self.states, options: options)
    var features = states.count == 1 ? states[0] : Tensor.concatenatedColumns(states)
    var length = features.rows / images
    if !keepsClassRow {
      let all = length
      features = features.gatherRows((0..<features.rows).filter { $0 % all != 0 })
      length -= 1
    }
    let pass = ForwardPass(
      .vision, lengths: [Int](repeating: length, count: images), role: .image, options: options)
    let rows = second(activation(first(features, pass.context)), pass.context)
    first.releasePages()
    second.releasePages()
    return rows
  }
}

extension ForwardPass {
  /// Shows the finished rows of one medium, as the decoder gets them, to those who want them.
  static func projected(_ rows: Tensor, _ tower: TensorName.Tower, role: Role, options: ForwardOptions)
    -> Tensor
  {
    ForwardPass(tower, lengths: [rows.rows], role: role, options: options).site(.projected, rows)
  }
}
