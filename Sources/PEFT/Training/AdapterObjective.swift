public import TensorCore
public import TokenModel

/// The next-token loss of raw inputs over the tensors of an adapter, to time training steps of models without a tokenizer
/// or data.
public struct AdapterObjective: Sendable {
  private let checkpoint: Checkpoint
  private let plan: AdapterPlan
  private let inputs: TraceInputs
  /// Whether only the input of every layer is kept, and the layer run twice.
  public var checkpointsLayers = false

  /// - Parameter inputs: The batch; ids that follow something have loss, media have none.
  public init(_ checkpoint: Checkpoint, plan: AdapterPlan, inputs: TraceInputs) {
    (self.checkpoint, self.plan, self.inputs) = (checkpoint, plan, inputs)
  }

  /// The mean loss.
  ///
  /// - Parameter parameters: The tensors of the plan's slots by name; tracked ones are followed.
  /// - Throws: As opening the model; `PromptError` and `TraceError` where the inputs do not fit it.
  public func loss(_ parameters: [String: Tensor]) throws -> Tensor {
    let model = try checkpoint.model { plan.adapting($0, parameters) }
    let batch = try inputs.batch(for: model)
    var context = batch.context
    context.joinsSequences = true
    let labels = labels(model, context)
    let rows = labels.indices.filter { labels[$0] >= 0 }
    var options = ForwardOptions()
    (options.logits, options.labels) = (.rows(rows), rows.map { labels[$0] })
    if checkpointsLayers { options.checkpointing = parameters.values.first?.tape }
    let result = model.decoder.forward(batch.embeddings, context: context, options: options)
    guard let losses = result.losses else { return Tensor(scalar: 0) }
    return (1 / Float(rows.count)) * losses.total()
  }

  /// For each row the id that follows; −1 where a medium does, or nothing.
  private func labels(_ model: any LanguageModel, _ context: TokenContext) -> [Int] {
    let placeholders = Set(model.modalities.compactMap { model.placeholderID(of: $0) })
    return inputs.rows.enumerated().flatMap { sequence, row -> [Int] in
      var texts = row.ids.filter { !placeholders.contains($0) }[...]
      let own = context.segments[sequence].map { index in
        Role.media.contains(context.roles[index]) ? -1 : texts.popFirst() ?? -1
      }
      return own.dropFirst() + [-1]
    }
  }
}
