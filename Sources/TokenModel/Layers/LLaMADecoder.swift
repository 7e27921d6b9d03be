import RunKit
import Synchronization
public import TensorCore

/// A LLaMA-type decoder: RMS norm, rotary grouped-query attention, SwiGLU, all with residual connections.
///
///     h ← h + o_proj(attention(rope(q_proj n), rope(k_proj n), v_proj n)),   n = rms_norm(h)
///     h ← h + down_proj(silu(gate_proj n) · up_proj n),                      n = rms_norm(h)
///
/// Queries and keys may pass a norm of each head before rotation. With `swin_norm` the norms stand behind attention and
/// feed-forward, not before: h ← h + rms_norm(attention(h)).
///
/// Source: Touvron et al., "LLaMA", 2023, arXiv:2302.13971, section 2.2.
public final class LLaMADecoder: Sendable {
  /// One layer, with the checkpoint's names.
  struct Layer: Sendable {
    let inputNorm: Tensor  // input_layernorm
    let query: any LinearLayer  // self_attn.q_proj
    let key: any LinearLayer  // self_attn.k_proj
    let value: any LinearLayer  // self_attn.v_proj
    let output: any LinearLayer  // self_attn.o_proj
    let queryNorm: HeadNorm?  // self_attn.q_norm
    let keyNorm: HeadNorm?  // self_attn.k_norm
    let feedForwardNorm: Tensor  // post_attention_layernorm
    let gate: any LinearLayer  // mlp.gate_proj
    let up: any LinearLayer  // mlp.up_proj
    let down: any LinearLayer  // mlp.down_proj

    var linears: [any LinearLayer] { [query, key, value, output, gate, up, down] }
    /// Whether a row of the feed-forward depends on others, so that rows cannot go through it in pieces.
    var feedForwardMixesRows: Bool { gate.mixesRows || up.mixesRows || down.mixesRows }

    func releasePages() {
      for linear in linears { linear.releasePages() }
    }
  }

  /// The norm of each head of queries or keys before rotation.
  enum HeadNorm: Sendable {
    /// RMS norm, one weight for all heads: `[headSize]`.
    case rms(Tensor)
    /// Layer norm over a head, with a weight and a bias for each head: `[heads * headSize]` each; ε is 1e-5.
    case layer(weight: Tensor, bias: Tensor)
  }

  /// Sizes and settings.
  public let configuration: LLaMAConfiguration
  /// The embedding table, `[vocabulary, hidden]`: model.embed_tokens.
  public let embedding: LinearWeight
  private let layers: [Layer]
  private let finalNorm: Tensor  // model.norm
  private let head: any LinearLayer  // lm_head
  private let rotary: RotaryEmbedding
  /// What is added to logits: 0, and the least number for ids that are never predicted.
  private let logitMask: Tensor?
  private let clock: LayerClock?
  /// Writers that belong to the model and act in every pass, before those of the pass.
  public let interventions: [any Intervention]
  /// Rows of the feed-forward layer that are computed together; its inner width is the largest buffer of a model.
  private static let feedForwardRows = 1024

  /// Takes the weights out of a checkpoint; matrices stay mapped.
  ///
  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ configuration: LLaMAConfiguration, weights: WeightSource) throws {
    var configuration = configuration
    // transformers 5 ties only what is equal: an output layer of its own in the files counts more than the setting.
    if configuration.tiesEmbeddings, weights.differ("lm_head.weight", "model.embed_tokens.weight") {
      configuration.tiesEmbeddings = false
    }
    self.configuration = configuration
    let (hidden, inner) = (configuration.hiddenSize, configuration.intermediateSize)
    let queryWidth = configuration.headCount * configuration.headSize
    let keyWidth = configuration.keyValueHeadCount * configuration.headSize
    let model = weights.under("model")
    try model.checkLayerCount(
      configuration.layerCount, of: "layers", ending: "input_layernorm.weight")
    embedding = try model.matrix("embed_tokens.weight", rows: configuration.vocabularySize, columns: hidden)
    layers = try (0..<configuration.layerCount).map { index in
      let source = model.under("layers.\(index)")
      let (attention, feedForward) = (source.under("self_attn"), source.under("mlp"))
      let headNorm = { (name: String, heads: Int) -> HeadNorm? in
        let size = configuration.headSize
        switch configuration.headNorm {
        case .none: return nil
        case .rms: return .rms(try attention.tensor("\(name).weight", shape: [size]))
        case .layer:
          return .layer(
            weight: try attention.tensor("\(name).weight", shape: [heads, size]).reshaped(to: [heads * size]),
            bias: try attention.tensor("\(name).bias", shape: [heads, size]).reshaped(to: [heads * size]))
        }
      }
      let (hasBias, hasInnerBias) = (configuration.attentionBias != .none, configuration.feedForwardHasBias)
      return Layer(
        inputNorm: try source.tensor("input_layernorm.weight", shape: [hidden]),
        query: try attention.linear("q_proj", from: hidden, to: queryWidth, hasBias: hasBias),
        key: try attention.linear("k_proj", from: hidden, to: keyWidth, hasBias: hasBias),
        value: try attention.linear("v_proj", from: hidden, to: keyWidth, hasBias: hasBias),
        output: try attention.linear(
          "o_proj", from: queryWidth, to: hidden, hasBias: configuration.attentionBias == .all),
        queryNorm: try headNorm("q_norm", configuration.headCount),
        keyNorm: try headNorm("k_norm", configuration.keyValueHeadCount),
        feedForwardNorm: try source.tensor("post_attention_layernorm.weight", shape: [hidden]),
        gate: try feedForward.linear("gate_proj", from: hidden, to: inner, hasBias: hasInnerBias),
        up: try feedForward.linear("up_proj", from: hidden, to: inner, hasBias: hasInnerBias),
        down: try feedForward.linear("down_proj", from: inner, to: hidden, hasBias: hasInnerBias))
    }
    finalNorm = try model.tensor("norm.weight", shape: [hidden])
    head =
      configuration.tiesEmbeddings
      ? Linear(weight: embedding)
      : try weights.linear("lm_head", from: hidden, to: configuration.vocabularySize)
    rotary = RotaryEmbedding(
      headSize: configuration.headSize, base: configuration.rotaryBase, scaling: configuration.rotaryScaling,
      sections: configuration.rotarySections)
    logitMask = Self.logitMask(configuration)
    (clock, interventions) = (nil, [])
  }

  private init(
    _ other: LLaMADecoder, layerCount: Int, clock: LayerClock?, interventions: [any Intervention]
  ) {
    (configuration, embedding) = (other.configuration, other.embedding)
    layers = Array(other.layers.prefix(layerCount))
    (finalNorm, head, rotary, logitMask) = (other.finalNorm, other.head, other.rotary, other.logitMask)
    (self.clock, self.interventions) = (clock, interventions)
  }

  /// The decoder with its first layers only, to measure what a layer costs; the configuration still names all.
  ///
  /// - Parameter clock: Told how long each layer takes.
  public func prefix(layers count: Int, clock: LayerClock?) -> LLaMADecoder {
    LLaMADecoder(self, layerCount: count, clock: clock, interventions: interventions)
  }

  /// The decoder with more writers that act in every pass; weights are shared.
  public func adding(_ more: [any Intervention]) -> LLaMADecoder {
    LLaMADecoder(self, layerCount: layers.count, clock: clock, interventions: interventions + more)
  }

  private static func logitMask(_ configuration: LLaMAConfiguration) -> Tensor? {
    if configuration.suppressedIDs.isEmpty { return nil }
    var mask = [Float](repeating: 0, count: configuration.vocabularySize)
    for id in configuration.suppressedIDs { mask[id] = -Float.greatestFiniteMagnitude }
    return Tensor(mask, shape: [mask.count])
  }

  /// Runs the decoder.
  ///
  /// - Parameters:
  ///   - embeddings: `[rows, hidden]`.
  ///   - context: The rows' sequences, positions and roles.
  public func forward(_ embeddings: Tensor, context: TokenContext, options: ForwardOptions) -> ForwardResult {
    var options = options
    options.interventions = interventions + options.interventions
    let pass = ForwardPass(context: context, options: options)
    let tables = rotary.tables(positions: context.positions)
    var hidden = pass.site(.embeddings, embeddings)
    for (index, layer) in layers.enumerated() {
      clock?.begin()
      hidden = pass.site(.input, layer: index, hidden)
      hidden = pass.site(.output, layer: index, inside(layer, index, hidden, tables, pass))
      if !options.keepsPages { layer.releasePages() }
      clock?.end(layer: index)
    }
    options.cache?.didAppend(context)
    return logits(hidden, pass)
  }

  /// Whether no row of a prompt depends on later rows of it, so that the keys and values of a beginning could serve another
  /// prompt that begins alike; not with an adapter whose rows look at each other, such as MokA.
  public var promptIsCausal: Bool { !layers.contains { $0.linears.contains(where: \.mixesRows) } }

  /// Bytes of all layers and the output layer as they are stored.
  public var storedByteCount: Int {
    matrices.reduce((head as? Linear)?.weight.storedByteCount ?? 0) { $0 + $1.storedByteCount }
  }

  /// The matrices of attention and feed-forward of all layers that are plain weights.
  public var matrices: [LinearWeight] {
    layers.flatMap { layer in layer.linears.compactMap { ($0 as? Linear)?.weight } }
  }

  /// The linear part of a layer's output projection (o_proj without its bias).
  ///
  /// - Parameter attended: `[rows, heads * headSize]`: parts of the attention output, before the projection.
  /// - Returns: `[rows, hidden]`; the parts of a sum give parts that sum to its projection.
  public func attentionOutput(of attended: Tensor, layer index: Int, context: TokenContext) -> Tensor {
    layers[index].output(attended, context) - outputBias(layer: index, context: context.selecting(rows: [0]))
  }

  /// The output projection of nothing, `[hidden]`: its bias, or zeros.
  ///
  /// - Parameter context: Of one row.
  public func outputBias(layer index: Int, context: TokenContext) -> Tensor {
    let output = layers[index].output
    return output(Tensor(zeros: [1, output.inputSize]), context).reshaped(to: [output.outputSize])
  }

  /// Attention and feed-forward of a layer; with a checkpoint only the input is kept.
  private func inside(
    _ layer: Layer, _ index: Int, _ hidden: Tensor, _ tables: (cosine: Tensor, sine: Tensor),
    _ pass: ForwardPass
  ) -> Tensor {
    let run: @Sendable (ForwardPass) -> Tensor = { pass in
      self.feedForward(layer, index, self.attend(layer, index, hidden, tables, pass), pass)
    }
    guard let tape = pass.options.checkpointing else { return run(pass) }
    require(pass.options.cache == nil, "a cache would be extended twice by a checkpoint")
    let (context, interventions) = (pass.context, pass.options.interventions)
    let (queryBlock, dropout) = (pass.options.queryBlock, pass.options.dropout)
    return tape.checkpoint(first: { run(pass) }) {
      var options = ForwardOptions()
      options.interventions = interventions
      (options.queryBlock, options.dropout, options.checkpointing) = (queryBlock, dropout, tape)
      return run(ForwardPass(context: context, options: options))
    }
  }

  private func attend(
    _ layer: Layer, _ index: Int, _ hidden: Tensor, _ tables: (cosine: Tensor, sine: Tensor),
    _ pass: ForwardPass
  ) -> Tensor {
    let attended = attended(layer, index, hidden, tables, pass)
    let projected = layer.output(pass.site(.attention, layer: index, attended), pass.context)
    let output = pass.site(.attentionOutput, layer: index, normed(projected, layer.inputNorm, isOutput: true))
    return pass.site(
      .afterAttention, layer: index, hidden + pass.dropped(output, layer: index, place: .attention))
  }

  /// The norm of a block, at its input or at its output; the other of the two passes unchanged.
  private func normed(_ tensor: Tensor, _ weight: Tensor, isOutput: Bool) -> Tensor {
    guard configuration.normalisesOutputs == isOutput else { return tensor }
    return tensor.rmsNorm(weight: weight, epsilon: configuration.normEpsilon)
  }

  /// Attention before the output projection. Queries, keys and values are gone when it returns, and the normed states
  /// before attention begins: together they would be most of the memory of a pass.
  private func attended(
    _ layer: Layer, _ index: Int, _ hidden: Tensor, _ tables: (cosine: Tensor, sine: Tensor),
    _ pass: ForwardPass
  ) -> Tensor {
    let context = pass.context
    let (query, newKey, newValue) = projections(layer, index, hidden, tables, pass)
    let (keys, values, keyRows) =
      pass.options.cache?.append(keys: newKey, values: newValue, layer: index, context: context)
      ?? (newKey, newValue, KeyRows(context))
    let attention = Attention(
      heads: configuration.headCount, keyValueHeads: configuration.keyValueHeadCount,
      headSize: configuration.headSize, queryBlock: pass.options.queryBlock)
    return pass.attention(
      attention, queries: query, keys: keys, values: values, keyRows: keyRows, layer: index)
  }

  private func projections(
    _ layer: Layer, _ index: Int, _ hidden: Tensor, _ tables: (cosine: Tensor, sine: Tensor),
    _ pass: ForwardPass
  ) -> (query: Tensor, key: Tensor, value: Tensor) {
    let context = pass.context
    let normed = pass.site(
      .attentionNorm, layer: index, self.normed(hidden, layer.inputNorm, isOutput: false))
    let query = pass.site(
      .query, layer: index,
      pass.site(
        .unplacedQuery, layer: index,
        headNormed(layer.query(normed, context), layer.queryNorm)
      ).rotated(cosine: tables.cosine, sine: tables.sine))
    let key = pass.site(
      .key, layer: index,
      pass.site(.unplacedKey, layer: index, headNormed(layer.key(normed, context), layer.keyNorm))
        .rotated(cosine: tables.cosine, sine: tables.sine))
    return (query, key, pass.site(.value, layer: index, layer.value(normed, context)))
  }

  /// Heads after their norm, if the model has one.
  private func headNormed(_ heads: Tensor, _ norm: HeadNorm?) -> Tensor {
    let size = configuration.headSize
    let single = [heads.count / size, size]
    switch norm {
    case nil: return heads
    case .rms(let weight):
      return heads.reshaped(to: single).rmsNorm(weight: weight, epsilon: configuration.normEpsilon)
        .reshaped(to: heads.shape)
    case .layer(let weight, let bias):
      let (ones, zeros) = (Tensor(repeating: 1, shape: [size]), Tensor(zeros: [size]))
      let normed = heads.reshaped(to: single).layerNorm(weight: ones, bias: zeros, epsilon: 1e-5)
      return normed.reshaped(to: heads.shape) * weight + bias
    }
  }

  private func feedForward(_ layer: Layer, _ index: Int, _ hidden: Tensor, _ pass: ForwardPass) -> Tensor {
    let isWatched = [TensorName.Site.feedForwardNorm, .gate, .up, .feedForwardOutput].contains {
      pass.isWatched($0, layer: index)
    }
    // A tape keeps the inner states anyway, or a checkpoint asks for the same products both times.
    if isWatched || hidden.isTracked || pass.options.checkpointing != nil || layer.feedForwardMixesRows {
      return feedForwardRows(layer, index, hidden, pass)
    }
    // Without a watcher the rows go through in pieces, so that the inner width costs no memory of its own.
    let pieces = pass.context.pieces(rows: Self.feedForwardRows)
    if pieces.count == 1 { return feedForwardRows(layer, index, hidden, pass) }
    return Tensor.concatenated(
      pieces.map { piece in
        feedForwardRows(
          layer, index, hidden.slice(piece.rows), ForwardPass(context: piece.context, options: pass.options))
      })
  }

  private func feedForwardRows(_ layer: Layer, _ index: Int, _ hidden: Tensor, _ pass: ForwardPass) -> Tensor
  {
    let context = pass.context
    let normed = pass.site(
      .feedForwardNorm, layer: index, self.normed(hidden, layer.feedForwardNorm, isOutput: false))
    let gate = pass.site(.gate, layer: index, layer.gate(normed, context))
    let up = pass.site(.up, layer: index, layer.up(normed, context))
    let projected = layer.down(gate.siluMultiplied(by: up), context)
    let output = pass.site(
      .feedForwardOutput, layer: index, self.normed(projected, layer.feedForwardNorm, isOutput: true))
    return hidden + pass.dropped(output, layer: index, place: .feedForward)
  }

  /// Losses without logits, where the output layer is frozen and plain and nobody looks at them.
  private func losses(_ final: Tensor, _ labels: [Int], _ pass: ForwardPass) -> Tensor? {
    let isWatched =
      pass.options.observers.contains { $0.wants(TensorName(.logits)) }
      || pass.options.interventions.contains { $0.edits(TensorName(.logits)) }
    guard let linear = head as? Linear, linear.bias == nil, !linear.weight.isTracked, logitMask == nil,
      !isWatched
    else { return nil }
    return linear.weight.crossEntropy(of: final, labels: labels)
  }

  private func logits(_ hidden: Tensor, _ pass: ForwardPass) -> ForwardResult {
    let context = pass.context
    let normed: (Tensor) -> Tensor = {
      $0.rmsNorm(weight: self.finalNorm, epsilon: self.configuration.normEpsilon)
    }
    let rows: [Int]
    switch pass.options.logits {
    case .none: rows = []
    case .all: rows = Array(0..<hidden.rows)
    case .last:
      rows = (0..<context.segments.count).compactMap {
        context.segments[$0].isEmpty ? nil : context.segments[$0].upperBound - 1
      }
    case .rows(let list): rows = list
    }
    let isWatched =
      pass.options.observers.contains { $0.wants(TensorName(.finalNorm)) }
      || pass.options.interventions.contains { $0.edits(TensorName(.finalNorm)) }
    guard !rows.isEmpty || isWatched else { return ForwardResult(logitRows: [], logits: nil) }
    let final: Tensor
    if isWatched {
      final = pass.site(.finalNorm, normed(hidden)).gatherRows(rows)
    } else {
      final = normed(rows.count == hidden.rows ? hidden : hidden.gatherRows(rows))
    }
    guard !rows.isEmpty else { return ForwardResult(logitRows: [], logits: nil) }
    defer { if !pass.options.keepsPages { head.releasePages() } }
    if let labels = pass.options.labels, let losses = losses(final, labels, pass) {
      return ForwardResult(logitRows: rows, logits: nil, losses: losses)
    }
    let raw = head(final, context.selecting(rows: rows))
    let logits = pass.site(.logits, logitMask.map { raw + $0 } ?? raw)
    return ForwardResult(
      logitRows: rows, logits: logits, losses: pass.options.labels.map { logits.crossEntropy(labels: $0) })
  }
}

/// Adds up the seconds that each layer of a decoder takes, over all its passes.
public final class LayerClock: Sendable {
  private let state = Mutex((start: 0.0, seconds: [Int: Double]()))

  /// Nothing measured yet.
  public init() {}

  /// Seconds of each layer so far.
  public var seconds: [Int: Double] { state.withLock { $0.seconds } }

  func begin() { state.withLock { $0.start = ProcessFacts.monotonicSeconds } }

  func end(layer: Int) {
    state.withLock { $0.seconds[layer, default: 0] += ProcessFacts.monotonicSeconds - $0.start }
  }
}
