public import TensorCore

/// Fuses the tokens of any number of modalities by attention and reads the answer off a class token.
///
///     rows of a sample: [class token; tokens of modality 0; tokens of modality 1; …]
///     q, k, v = affine projections,  h = softmax(q kᵀ / √size) v,  every row sees every row
///     logits = head(row of the class token after the last layer)
///
/// With `FusionConfiguration.Block.plain`, one layer and one head it is the fusion of the released RollingQ code, which has
/// neither residual connection nor norm. `FusionOptions.rolling` rotates the queries of class tokens; keys, values and all
/// other queries stay as they are.
///
/// Source: Ni et al., "RollingQ", ICML 2025, arXiv:2506.11465. Departs from the released code: dropout acts on outputs of
/// blocks, not on attention probabilities.
public struct FusionTransformer: Sendable {
  /// A linear layer and its bias.
  private struct Projection: Sendable {
    let weight: Tensor
    let bias: Tensor

    init(_ source: WeightSource, _ name: String, from inputSize: Int, to outputSize: Int) throws {
      weight = try source.tensor("\(name).weight", shape: [outputSize, inputSize])
      bias = try source.tensor("\(name).bias", shape: [outputSize])
    }

    init(weight: Tensor, bias: Tensor) { (self.weight, self.bias) = (weight, bias) }

    func callAsFunction(_ x: Tensor) -> Tensor { LinearWeight(weight).forward(x, bias: bias) }
  }

  private struct Norm: Sendable {
    let weight: Tensor
    let bias: Tensor

    init(_ source: WeightSource, _ name: String, size: Int) throws {
      weight = try source.tensor("\(name).weight", shape: [size])
      bias = try source.tensor("\(name).bias", shape: [size])
    }

    func callAsFunction(_ x: Tensor) -> Tensor { x.layerNorm(weight: weight, bias: bias, epsilon: 1e-5) }
  }

  private struct Layer: Sendable {
    var query: Projection
    let key: Projection
    let value: Projection
    let output: Projection
    /// The parts of a residual layer; nil in a plain one.
    let residual: (attentionNorm: Norm, feedForwardNorm: Norm, up: Projection, down: Projection)?
  }

  /// The rows of a batch.
  private struct Rows {
    /// Where the class token of each sample stands.
    let classRows: [Int]
    /// Rows of each sample.
    let segments: RowSegments
    /// For each sample and modality its rows.
    let modalityRows: [[[Int]]]
    /// 0 for a class token, 1 + m for modality m.
    let groups: [Int]
  }

  /// Sizes.
  public let configuration: FusionConfiguration
  private let classToken: Tensor
  private let inputs: [Projection?]
  private var layers: [Layer]
  private let finalNorm: Norm?
  private let head: Projection

  /// Takes the parameters out of a checkpoint or out of memory, by the names of `FusionConfiguration.parameterShapes`.
  ///
  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ configuration: FusionConfiguration, weights: WeightSource) throws {
    require(
      configuration.width % configuration.headCount == 0 && configuration.layerCount > 0
        && !configuration.inputs.isEmpty, "a fusion of \(configuration)")
    self.configuration = configuration
    let width = configuration.width
    classToken = try weights.tensor("class_token", shape: [1, width])
    inputs = try configuration.inputs.map { input in
      input.size == width
        ? nil : try Projection(weights, "inputs.\(input.modality.rawValue)", from: input.size, to: width)
    }
    let isResidual = configuration.block == .residual
    layers = try (0..<configuration.layerCount).map { index in
      let source = weights.under("layers.\(index)")
      return Layer(
        query: try Projection(source, "query", from: width, to: width),
        key: try Projection(source, "key", from: width, to: width),
        value: try Projection(source, "value", from: width, to: width),
        output: try Projection(source, "output", from: width, to: width),
        residual: isResidual
          ? (
            try Norm(source, "attention_norm", size: width),
            try Norm(source, "feed_forward_norm", size: width),
            try Projection(source, "up", from: width, to: configuration.feedForwardSize),
            try Projection(source, "down", from: configuration.feedForwardSize, to: width)
          ) : nil)
    }
    finalNorm = isResidual ? try Norm(weights, "norm", size: width) : nil
    head = try Projection(weights, "head", from: width, to: configuration.outputSize)
  }

  /// Parameters by name, such as leaves of a tape.
  ///
  /// - Throws: `ConfigurationError`.
  public init(_ configuration: FusionConfiguration, parameters: [String: Tensor]) throws {
    try self.init(configuration, weights: WeightSource(in: "fusion") { name, _ in parameters[name] })
  }

  /// Runs a batch.
  ///
  /// - Parameter batch: The tokens of each modality in the order of the configuration, of the same samples.
  public func callAsFunction(_ batch: [FusionInput], options: FusionOptions = FusionOptions()) -> FusionResult
  {
    let rows = rows(of: batch)
    var hidden = embeddings(batch, rows)
    var attentions: [FusionResult.Layer] = []
    for (index, layer) in layers.enumerated() {
      let isLast = index == layers.count - 1
      let keepsAll = !isLast || options.computesAllRows
      let (output, attention) = run(layer, index, hidden, rows, keepsAll: keepsAll, options)
      hidden = output
      attentions.append(attention)
    }
    let reached = options.computesAllRows ? hidden.gatherRows(rows.classRows) : hidden
    let features = finalNorm.map { $0(reached) } ?? reached
    return FusionResult(
      logits: head(features), features: features, layers: attentions,
      observations: rows.modalityRows.enumerated().map { .init(queries: [$0], keys: $1) })
  }

  /// The same model with the rotation of a layer inside its query projection.
  ///
  /// - Parameter rolling: Its rotation of this layer must not be given to later passes as well.
  /// - Throws: `RollingQueryError.cannotFold` for a layer below the last one: there the tokens of modalities use the same
  ///   projection, and their queries are not rotated. In the last layer nothing but the class token is read.
  public func folding(_ rolling: RollingQuery, layer: Int) throws(RollingQueryError) -> FusionTransformer {
    guard layers.indices.contains(layer) else {
      throw .unknownLayer(layer: layer, count: layers.count)
    }
    guard layer == layers.count - 1 else {
      throw .cannotFold(layer: layer, reason: "other rows than that of the class token use it too")
    }
    var folded = self
    let query = layers[layer].query
    let (weight, bias) = rolling.folded(weight: query.weight, bias: query.bias)
    folded.layers[layer].query = Projection(weight: weight, bias: bias)
    return folded
  }

  /// Calls `visit` with every parameter, in the order of `FusionConfiguration.parameterShapes`.
  public func visitParameters(_ visit: (String, Tensor) throws -> Void) rethrows {
    func linear(_ name: String, _ projection: Projection) throws {
      try visit("\(name).weight", projection.weight)
      try visit("\(name).bias", projection.bias)
    }
    func norm(_ name: String, _ norm: Norm) throws {
      try visit("\(name).weight", norm.weight)
      try visit("\(name).bias", norm.bias)
    }
    try visit("class_token", classToken)
    for (input, projection) in zip(configuration.inputs, inputs) {
      if let projection { try linear("inputs.\(input.modality.rawValue)", projection) }
    }
    for (index, layer) in layers.enumerated() {
      let prefix = "layers.\(index)"
      if let residual = layer.residual { try norm("\(prefix).attention_norm", residual.attentionNorm) }
      try linear("\(prefix).query", layer.query)
      try linear("\(prefix).key", layer.key)
      try linear("\(prefix).value", layer.value)
      try linear("\(prefix).output", layer.output)
      if let residual = layer.residual {
        try norm("\(prefix).feed_forward_norm", residual.feedForwardNorm)
        try linear("\(prefix).up", residual.up)
        try linear("\(prefix).down", residual.down)
      }
    }
    if let finalNorm { try norm("norm", finalNorm) }
    try linear("head", head)
  }

  // MARK: Parts of a pass

  private func rows(of batch: [FusionInput]) -> Rows {
    let sampleCount = batch.first?.lengths.count ?? 0
    require(
      batch.count == configuration.inputs.count && batch.allSatisfy { $0.lengths.count == sampleCount },
      "inputs of \(batch.map(\.lengths.count)) samples for \(configuration.inputs.count) modalities")
    for (input, expected) in zip(batch, configuration.inputs) {
      require(
        input.tokens.columns == expected.size,
        "tokens \(input.tokens.shape) of \(expected.modality.rawValue), expected size \(expected.size)")
    }
    var (classRows, lengths, groups) = ([Int](), [Int](), [Int]())
    var modalityRows: [[[Int]]] = []
    for sample in 0..<sampleCount {
      let start = groups.count
      classRows.append(start)
      groups.append(0)
      modalityRows.append(
        batch.enumerated().map { modality, input in
          let first = groups.count
          groups += [Int](repeating: 1 + modality, count: input.lengths[sample])
          return Array(first..<groups.count)
        })
      lengths.append(groups.count - start)
    }
    return Rows(
      classRows: classRows, segments: RowSegments(lengths: lengths), modalityRows: modalityRows,
      groups: groups)
  }

  /// `[rows, width]`: class tokens and projected tokens, sample by sample.
  private func embeddings(_ batch: [FusionInput], _ rows: Rows) -> Tensor {
    var parts = [classToken]
    var starts: [Int] = []
    var next = 1
    for (input, projection) in zip(batch, inputs) {
      parts.append(projection.map { $0(input.tokens) } ?? input.tokens)
      starts.append(next)
      next += input.tokens.rows
    }
    var order: [Int] = []
    for sample in rows.classRows.indices {
      order.append(0)
      for (modality, input) in batch.enumerated() {
        let end = starts[modality] + input.lengths[sample]
        order += starts[modality]..<end
        starts[modality] = end
      }
    }
    return Tensor.concatenated(parts).gatherRows(order)
  }

  private func run(
    _ layer: Layer, _ index: Int, _ hidden: Tensor, _ rows: Rows, keepsAll: Bool, _ options: FusionOptions
  ) -> (Tensor, FusionResult.Layer) {
    let entering = layer.residual.map { $0.attentionNorm(hidden) } ?? hidden
    let attention = attend(layer, index, entering, rows, keepsAll: keepsAll, options)
    let projected = layer.output(attention.output)
    guard let residual = layer.residual else {
      return (dropped(projected, index, 0, options), attention.layer)
    }
    let passed = keepsAll ? hidden : hidden.gatherRows(rows.classRows)
    let middle = passed + dropped(projected, index, 0, options)
    let inner = residual.down(residual.up(residual.feedForwardNorm(middle)).gelu())
    return (middle + dropped(inner, index, 1, options), attention.layer)
  }

  /// Attention before its output projection, of all rows or of the class tokens.
  private func attend(
    _ layer: Layer, _ index: Int, _ hidden: Tensor, _ rows: Rows, keepsAll: Bool, _ options: FusionOptions
  ) -> (output: Tensor, layer: FusionResult.Layer) {
    let ownRows = hidden.gatherRows(rows.classRows)
    let projected = keepsAll ? layer.query(hidden) : layer.query(ownRows)
    var classQueries = keepsAll ? projected.gatherRows(rows.classRows) : projected
    var queries = projected
    if let rolling = options.rolling?[index], !rolling.isIdentity {
      classQueries = rolling.rotate(classQueries)
      queries = keepsAll ? projected.replacingRows(rows.classRows, with: classQueries) : classQueries
    }
    let (keys, values) = (layer.key(hidden), layer.value(hidden))
    let sequences = rows.classRows.indices.map { sample in
      AttentionSequence(
        queries: keepsAll ? rows.segments[sample] : sample..<sample + 1, keys: rows.segments[sample])
    }
    var request = options.request
    if request.groupCount > 0 || request.wantsGroupMass || request.wantsValueSums {
      (request.groups, request.groupCount) = (rows.groups, 1 + configuration.inputs.count)
    }
    let attention = Attention(
      heads: configuration.headCount, keyValueHeads: configuration.headCount, headSize: configuration.headSize
    )
    let (output, statistics) = attention(
      queries: queries, keys: keys, values: values, sequences: sequences, mask: .full, request: request)
    return (
      output,
      FusionResult.Layer(
        queries: queries, classQueries: classQueries, keys: keys, values: values, statistics: statistics)
    )
  }

  private func dropped(_ tensor: Tensor, _ layer: Int, _ place: UInt64, _ options: FusionOptions) -> Tensor {
    guard options.dropoutRate > 0 else { return tensor }
    let key = options.dropoutKey ^ (UInt64(layer) << 8 | place) &* 0x9E37_79B9_7F4A_7C15
    return tensor.dropout(rate: options.dropoutRate, key: key)
  }
}
