import Foundation
public import RunKit
public import TensorCore
public import TokenModel

/// Fine-tuning a model on conversations: adapters, or parts of the model, or both.
///
/// The loss is the mean cross-entropy of the pieces of answers, the id that ends one included. Records of a batch lie one
/// after another without padding. A record is drawn once in every pass over the data, in an order of its own each time.
public struct FinetuneTask: TrainingTask {
  private let checkpoint: Checkpoint
  private let options: FinetuneOptions
  private let training: FinetuneData
  private let validation: FinetuneData?
  /// What the model is made of.
  public let inventory: ModelInventory
  /// Where adapters stand; nil without adapters.
  public let plan: AdapterPlan?
  /// Names of what is trained.
  private let trained: [(name: String, shape: [Int])]
  /// Steps of one pass over the data.
  public let stepsPerEpoch: Int
  /// The queries that are rotated between passes; a buffer of the training.
  private let rolling: DecoderRollingQuery?

  /// - Throws: `AdapterError`, `FinetuneError`, `RollingQueryError`; errors of the model's files.
  public init(
    _ checkpoint: Checkpoint, options: FinetuneOptions, training: FinetuneData, validation: FinetuneData?
  ) throws {
    (self.checkpoint, self.options, self.training) = (checkpoint, options, training)
    self.validation = validation
    let inventory = try ModelInventory(checkpoint)
    self.inventory = inventory
    switch options.method {
    case .adapter(let configuration):
      let plan = try AdapterPlan(configuration, inventory, path: checkpoint.folder.path)
      self.plan = plan
      trained = plan.slots.map { ($0.name, $0.shape) }
    case .full(let parts):
      plan = nil
      trained = inventory.tensors.filter { parts.contains(ModelPart(of: $0.name)) }
      guard !trained.isEmpty else {
        throw FinetuneError.nothingTrainable(path: checkpoint.folder.path, parts: parts.map(\.rawValue))
      }
    }
    let perStep = options.batchSize * options.driver.accumulation
    stepsPerEpoch = max(1, (training.count + perStep - 1) / perStep)
    guard let rebalancing = options.rebalancing else {
      rolling = nil
      return
    }
    if let rotations = checkpoint.rotations {
      throw RollingQueryError.alreadyRotated(path: rotations.file.path)
    }
    rolling = try DecoderRollingQuery(
      checkpoint.model.decoder.configuration, layers: rebalancing.layers,
      modalities: rebalancing.modalities, options: rebalancing.options)
    guard options.driver.schedule.total > stepsPerEpoch else {
      throw FinetuneError.noEpoch(
        path: training.data.url.path, steps: options.driver.schedule.total, perEpoch: stepsPerEpoch)
    }
  }

  /// What training begins with.
  public func initialParameters() throws -> ParameterSet {
    if let plan { return ParameterSet(try plan.initialTensors(checkpoint, seed: options.seed)) }
    return ParameterSet(
      try trained.map { tensor in
        (tensor.name, try checkpoint.tensor(tensor.name, shape: tensor.shape, layout: inventory.layout))
      })
  }

  /// How parameters are updated, part by part.
  public func groups() -> [ParameterGroup] {
    ModelPart.allCases.flatMap { part in
      let rate = options.rates[part] ?? 1
      return [
        ParameterGroup(learningRateFactor: rate, weightDecay: options.weightDecay) { name, shape in
          ModelPart(of: name) == part && shape.count > 1
        },
        ParameterGroup(learningRateFactor: rate) { name, _ in ModelPart(of: name) == part },
      ]
    }
  }

  /// The model over given tensors, which may be tracked.
  private func model(
    _ tensors: [String: Tensor], dropout: [AdapterDropout] = [], split: GradientSplit? = nil
  ) throws -> any LanguageModel {
    var model = try checkpoint.model { source in
      if let plan { return plan.adapting(source, tensors, dropout: dropout, split: split) }
      return source.replacing { name, _ in tensors[name] }
    }
    if let rolling { model.decoder = model.decoder.adding([rolling.intervention]) }
    return model
  }

  private func dropout(at place: TrainingPlace) -> [AdapterDropout] {
    guard let plan, plan.configuration.dropout > 0 else { return [] }
    let step = place.step * place.partCount + place.part
    return plan.modules.indices.map { index in
      var stream = RandomStream(seed: options.seed, purpose: "adapter dropout", step: step, id: index)
      return AdapterDropout(rate: Float(plan.configuration.dropout), key: stream.next())
    }
  }

  /// The records of a part of a step.
  func indices(at place: TrainingPlace) -> [Int] {
    let start = (place.step * place.partCount + place.part) * options.batchSize
    var (epoch, order) = (-1, [Int]())
    return (start..<start + options.batchSize).map { number in
      if number / training.count != epoch {
        epoch = number / training.count
        var stream = RandomStream(seed: options.seed, purpose: "order", epoch: epoch)
        order = stream.permutation(of: training.count)
      }
      return order[number % training.count]
    }
  }

  /// The loss of a part of a step.
  public func loss(_ parameters: [String: Tensor], at place: TrainingPlace) throws -> TrainingLoss {
    try loss(parameters, at: place, isTrial: false)
  }

  /// - Parameter isTrial: Whether nothing is to remember the step.
  private func loss(_ parameters: [String: Tensor], at place: TrainingPlace, isTrial: Bool) throws
    -> TrainingLoss
  {
    let batch = FinetuneBatch(try indices(at: place).flatMap { try training.examples(at: $0) })
    // The figures of the log: of the first part alone.
    let isWatched = place.isLogged && place.part == 0
    let modalities = batch.modalities
    let split =
      isWatched && modalities.count > 1 && plan != nil && plan?.configuration.moka == nil
      ? GradientSplit(modalities) : nil
    let model = try model(parameters, dropout: dropout(at: place), split: split)
    var pass = ForwardOptions()
    (pass.logits, pass.labels) = (.rows(batch.lossRows), batch.labels)
    let tape = parameters.values.first?.tape
    if options.checkpointsLayers { pass.checkpointing = tape }
    let drift = DriftObserver(batch.prompts.flatMap(\.spans.roles))
    let balance = BalanceObserver(lossRows: batch.lossRows, modalities: modalities)
    balance.headSize = model.decoder.configuration.headSize
    if isWatched { pass.observers = [drift, balance] }
    if let rolling, !isTrial { pass.observers.append(rolling) }
    var embeddings = batch.embeddings(model)
    // Gradients of the rows are wanted for the log, whoever made them.
    if isWatched, !embeddings.isTracked, let tape { embeddings = tape.leaf(embeddings) }
    let result = model.decoder.forward(embeddings, context: batch.context, options: pass)
    guard let losses = result.losses else {
      return TrainingLoss(sum: Tensor(scalar: 0), weight: 0, tokenCount: 0)
    }
    var loss = TrainingLoss(
      sum: losses.rowSums(), weight: Double(batch.labels.count),
      tokenCount: batch.context.segments.rowCount,
      details: isWatched ? balance.figures + drift.figures : [])
    guard isWatched else { return loss }
    let matrices = matrices(parameters)
    loss.probes = [embeddings] + (split?.parts.map(\.down) ?? []) + matrices.map(\.down)
    let rows = modalities.map { ($0, batch.rows(of: $0)) }
    loss.figures = { gradients, weight in
      let own = gradients.count - matrices.count
      return Self.figures(Array(gradients.prefix(own)), weight: weight, rows: rows, split: split)
        + Self.norms(matrices.map(\.modality), Array(gradients.dropFirst(own)), weight: weight)
    }
    return loss
  }

  /// A of every modality of MokA, layer by layer; nothing for other methods.
  private func matrices(_ parameters: [String: Tensor]) -> [(modality: Modality, down: Tensor)] {
    guard let plan, let moka = plan.configuration.moka else { return [] }
    return plan.modules.flatMap { module in
      moka.modalities.compactMap { modality in
        parameters["\(module.site.name).lora_A.\(modality.rawValue).weight"].map { (modality, $0) }
      }
    }
  }

  /// ‖∂L/∂Aᵐ‖ of every modality over all layers.
  private static func norms(
    _ modalities: [Modality], _ gradients: [Tensor?], weight: Double
  ) -> [(tag: String, value: Double)] {
    var squares: [Modality: Double] = [:]
    for (modality, gradient) in zip(modalities, gradients) {
      let values = gradient?.hostValues() ?? []
      squares[modality, default: 0] += values.reduce(0) { $0 + Double($1) * Double($1) }
    }
    return squares.sorted { $0.key < $1.key }.map {
      ("matrices/norm/\($0.key.rawValue)", $0.value.squareRoot() / weight)
    }
  }

  /// Figures of gradients: of the rows of each modality, and of A split by modality.
  private static func figures(
    _ gradients: [Tensor?], weight: Double, rows: [(modality: Modality, rows: [Int])], split: GradientSplit?
  ) -> [(tag: String, value: Double)] {
    var figures: [(tag: String, value: Double)] = []
    if let gradient = gradients.first ?? nil {
      let squares = (gradient * gradient).rowSums().hostValues()
      for (modality, rows) in rows where !rows.isEmpty {
        let sum = rows.reduce(0.0) { $0 + Double(squares[$1]) }
        // ‖∂L/∂X‖ / √rows, so that modalities of many rows compare with others.
        figures.append(
          ("gradient/\(modality.rawValue)", (sum / Double(rows.count)).squareRoot() / weight))
      }
    }
    guard let split else { return figures }
    let parts = split.figures(Array(gradients.dropFirst()))
    figures += parts.norms.map { ("split/norm/\($0.modality.rawValue)", $0.value / weight) }
    figures += parts.shares.map { ("split/share/\($0.modality.rawValue)", $0.value) }
    figures += parts.cosines.map { ("split/cosine/\($0.modality.rawValue)", $0.value) }
    return figures
  }

  /// Mean loss on the validation data, and exact match if it chooses the best weights.
  public func evaluate(_ parameters: ParameterSet, step: Int) throws -> [TrainingMetric] {
    guard let validation else { return [] }
    let model = try model(parameters.named)
    var (sum, count, right) = (0.0, 0, 0)
    for start in stride(from: 0, to: validation.count, by: options.batchSize) {
      let range = start..<min(validation.count, start + options.batchSize)
      let batch = FinetuneBatch(try range.flatMap { try validation.examples(at: $0) })
      sum += try self.loss(batch, model)
      count += batch.labels.count
      if options.metric == .exactMatch { right += try rightAnswers(batch, model) }
    }
    let loss = TrainingMetric(tag: "loss", value: sum / Double(max(1, count)), isBetterWhenLarger: false)
    guard options.metric == .exactMatch else { return [loss] }
    let share = Double(right) / Double(max(1, validation.count))
    return [TrainingMetric(tag: "exact_match", value: share), loss]
  }

  private func loss(_ batch: FinetuneBatch, _ model: any LanguageModel, blanksMedia: Bool = false) throws
    -> Double
  {
    var pass = ForwardOptions()
    (pass.logits, pass.labels) = (.rows(batch.lossRows), batch.labels)
    let result = model.decoder.forward(
      batch.embeddings(model, blanksMedia: blanksMedia), context: TokenContext(batch.prompts), options: pass)
    return Double(result.losses?.rowSums().hostValues()[0] ?? 0)
  }

  private func rightAnswers(_ batch: FinetuneBatch, _ model: any LanguageModel) throws -> Int {
    var generator = Generator(model)
    generator.limit = options.answerLimit
    // Of a record that makes several examples the last one is the record itself.
    let examples = batch.examples.indices.filter { place in
      let next = place + 1
      return next == batch.examples.count
        || batch.examples[next].sample.index != batch.examples[place].sample.index
    }.map { batch.examples[$0] }
    let prompts = try examples.map { try checkpoint.prompt(for: $0.sample) }
    let answers = try generator.answers(to: Generator.Start(prompts, model: model))
    let tokenizer = try checkpoint.requiredTokenizer()
    return try zip(examples, answers).count { example, answer in
      let text = try tokenizer.decode(answer.ids).trimmingCharacters(in: .whitespacesAndNewlines)
      return text == example.sample.answer?.trimmingCharacters(in: .whitespacesAndNewlines)
    }
  }

  /// Writes an adapter folder, or the whole model where parts of it were trained.
  public func write(_ parameters: ParameterSet, to folder: RunFolder, under name: String) throws {
    let write: (String, (URL) throws -> Void) throws -> Void = { file, body in
      try folder.write(to: "\(name)/\(file)", by: body)
    }
    // First: both kinds of folder are whole with their last file.
    if let rolling { try write(StoredRotations.name) { try rolling.write(to: $0.path) } }
    if let plan { return try plan.write(parameters.named, by: write) }
    let copy = CheckpointCopy(checkpoint: checkpoint, layout: inventory.layout) { name, _ in
      parameters[name]?.hostValues()
    }
    try copy.write(write)
  }
}

extension FinetuneTask {
  /// Rotates queries, if the training rebalances; each head makes a line of the log.
  public func endEpoch(_ epoch: Int) -> TrainingEpochEnd {
    var end = TrainingEpochEnd()
    guard let rolling else { return end }
    let events = rolling.endEpoch(epoch)
    end.lines = events.compactMap { $0.json(rolling.rolling.modalities).objectValue }
    for layer in rolling.rolling.layers {
      let own = events.filter { $0.layer == layer }
      guard !own.isEmpty else { continue }
      func mean(_ value: (RollingQueryEvent) -> Double) -> Double {
        own.reduce(0) { $0 + value($1) } / Double(own.count)
      }
      end.scalars += [
        ("rollingq/imbalance/layer.\(layer)", mean(\.imbalance)),
        ("rollingq/angle/layer.\(layer)", mean(\.angle)),
        ("rollingq/rotated/layer.\(layer)", mean { $0.outcome == .rotated ? 1 : 0 }),
      ]
    }
    return end
  }

  /// Rotations and what was seen since the last ones.
  public func buffers(prefix: String) throws -> [StoredTensor] {
    try rolling?.storedBuffers(prefix: prefix) ?? []
  }

  /// Takes the rotations back.
  public func restoreBuffers(from file: SafetensorsFile, prefix: String) throws {
    try rolling?.restoreBuffers(from: BufferSource(file, prefix: prefix))
  }

  /// What the model does with the media of some records, before anything is trained.
  public struct MediaUse: Sendable, Equatable {
    /// Records with media that were tried.
    public var count = 0
    /// The mean loss of an answer piece.
    public var loss = 0.0
    /// The same with media that show nothing.
    public var blankLoss = 0.0
    /// The largest change of the loss of a record, in nats a piece: 0 if the media do not reach the answers.
    public var largestChange = 0.0

    /// Whether media reach the answers at all.
    public var areUsed: Bool { largestChange > 0 }
  }

  /// Compares losses with media and with blanks in their place.
  ///
  /// - Parameter limit: The most records.
  public func mediaUse(limit: Int) throws -> MediaUse {
    var use = MediaUse()
    let model = try model(initialParameters().named)
    for index in 0..<training.count where use.count < limit {
      let examples = try training.examples(at: index)
      // Far into data without media nothing is found either.
      if index > 50 * limit { break }
      guard let whole = examples.last, !whole.sample.media.isEmpty else { continue }
      let batch = FinetuneBatch(examples)
      let pieces = Double(batch.labels.count)
      let seen = try loss(batch, model) / pieces
      let blank = try loss(batch, model, blanksMedia: true) / pieces
      guard seen.isFinite, blank.isFinite else {
        throw ModelError.notFinite(what: "loss of \(whole.sample.id)", step: 0)
      }
      use.loss += seen
      use.blankLoss += blank
      use.largestChange = max(use.largestChange, abs(blank - seen))
      use.count += 1
    }
    use.loss /= Double(max(1, use.count))
    use.blankLoss /= Double(max(1, use.count))
    return use
  }

  /// The cost of one step, measured by one whose gradients are thrown away.
  public struct Trial: Sendable {
    /// Seconds of a step.
    public let seconds: Double
    /// Positions of the step.
    public let tokens: Int
    /// The largest memory of the process so far, in bytes.
    public let peakBytes: Int
    /// The mean loss.
    public let loss: Double
  }

  /// Runs the first step without an update.
  public func trial(_ parameters: ParameterSet) throws -> Trial {
    let start = ProcessFacts.monotonicSeconds
    var (tokens, sum, weight) = (0, 0.0, 0.0)
    for part in 0..<options.driver.accumulation {
      let tape = Tape()
      let leaves = parameters.values.map { tape.leaf($0) }
      let named = Dictionary(uniqueKeysWithValues: zip(parameters.names, leaves))
      let place = TrainingPlace(step: 0, part: part, partCount: options.driver.accumulation, isLogged: false)
      let loss = try loss(named, at: place, isTrial: true)
      tokens += loss.tokenCount
      sum += Double(loss.sum.hostValues()[0])
      weight += loss.weight
      _ = tape.gradients(of: loss.sum, for: leaves, retaining: false)
    }
    return Trial(
      seconds: ProcessFacts.monotonicSeconds - start, tokens: tokens,
      peakBytes: ProcessMemory.current.peakResident, loss: sum / max(1, weight))
  }

  /// One line of the table of what is trained.
  public struct PartCount: Sendable, Equatable {
    /// The part.
    public let part: ModelPart
    /// Numbers of the part that are trained.
    public let trained: Int
    /// Numbers of the part in all.
    public let total: Int
    /// The learning rate, before its schedule.
    public let learningRate: Double
  }

  /// What is trained, part by part; parts the model does not have are left out.
  public var parts: [PartCount] {
    ModelPart.allCases.compactMap { part in
      let own = trained.filter { ModelPart(of: $0.name) == part }.reduce(0) { $0 + $1.shape.reduce(1, *) }
      let all = inventory.tensors.filter { ModelPart(of: $0.name) == part }.reduce(0) {
        $0 + $1.shape.reduce(1, *)
      }
      let total = part == .adapters ? own : all
      guard total > 0 else { return nil }
      return PartCount(
        part: part, trained: own, total: total,
        learningRate: options.driver.schedule.peak * (options.rates[part] ?? 1))
    }
  }
}
