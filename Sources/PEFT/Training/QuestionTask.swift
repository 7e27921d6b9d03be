import Foundation
public import RunKit
public import TensorCore
import TokenModel

/// Training an `avt_llama` from scratch to answer questions about media.
///
/// The loss is the cross-entropy of the answer pieces and the id that ends them, plus, if asked for, that of the
/// normaliser of the logits:
///
///     L = −log softmax(z)[label] + c (log Σ exp z)²
///
/// Source of the second term: Chowdhery et al., "PaLM", 2022, arXiv:2204.02311, section 5.
public struct QuestionTask: TrainingTask {
  private let configuration: TrainingConfiguration
  private let reader: ConfigurationReader
  private let files: ModelFolder
  private let model: AVTLlamaModel
  private let tokenizer: any Tokenizer
  private let questions: TrainingQuestions
  private let media: TrainingMedia
  private let validation: [Sample]
  private let seed: Int
  /// Steps of one pass over the groups.
  public let stepsPerEpoch: Int
  /// SHA-256 of the training and validation data and of the model's files, for the configuration of the run.
  public let hashes: JSONObject
  private static let answersPerBatch = 50

  /// Reads and encodes everything.
  ///
  /// - Throws: Errors of the files read; `TrainingDataError`.
  public init(_ configuration: TrainingConfiguration, seed: Int) throws {
    (self.configuration, self.seed) = (configuration, seed)
    files = try ModelFolder(configuration)
    reader = files.reader
    tokenizer = files.tokenizer
    model = try Self.model(
      reader, Self.initialWeights(reader, configuration.initialization, seed: seed).named)
    let training = try DataSet(configuration.trainingData)
    questions = try TrainingQuestions(training, model: model, tokenizer: tokenizer)
    media = try TrainingMedia(
      training.questionMedia, model: model, usesLabels: configuration.augmentation.usesSameLabel)
    let validation = try DataSet(configuration.validationData)
    let (model, perStep) = (model, configuration.groupCount * configuration.driver.accumulation)
    self.validation = try (0..<validation.count).map { index in
      let sample = try validation.sample(at: index, for: model)
      guard sample.answer != nil else {
        throw TrainingDataError.noAnswer(path: validation.url.path, sample: sample.id)
      }
      return sample
    }
    stepsPerEpoch = questions.groups.count / perStep
    guard stepsPerEpoch > 0 else {
      throw TrainingDataError.tooFewGroups(
        path: training.url.path, found: questions.groups.count, expected: perStep)
    }
    hashes = JSONObject(
      [("train", .string(training.sha256)), ("validation", .string(validation.sha256))] + files.hashes)
  }

  /// The weights training begins with, in the order the model asks for them.
  public func initialParameters() throws -> ParameterSet {
    try Self.initialWeights(reader, configuration.initialization, seed: seed)
  }

  private static func initialWeights(
    _ reader: ConfigurationReader, _ initialization: WeightInitialization, seed: Int
  ) throws -> ParameterSet {
    let layerCount = try LLaMAConfiguration(reader.requiredSection("text_config")).layerCount
    var tensors: [(name: String, value: Tensor)] = []
    // The model itself says which weights it has.
    _ = try AVTLlamaModel(
      reader,
      weights: WeightSource(in: "initial weights") { name, shape in
        let tensor = initialization.tensor(name, shape: shape, layerCount: layerCount, seed: seed)
        tensors.append((name, tensor))
        return tensor
      })
    return ParameterSet(tensors)
  }

  /// The model over given weights, which may be tracked; costs next to nothing.
  private static func model(_ reader: ConfigurationReader, _ weights: [String: Tensor]) throws
    -> AVTLlamaModel
  {
    try AVTLlamaModel(reader, weights: WeightSource(in: reader.path) { name, _ in weights[name] })
  }

  /// The loss of a part of a step.
  public func loss(_ parameters: [String: Tensor], at place: TrainingPlace) throws -> TrainingLoss {
    let batch = batch(at: place)
    let model = try Self.model(reader, parameters)
    var options = ForwardOptions()
    options.logits = .rows(batch.lossRows)
    if configuration.dropout > 0 {
      options.dropout = ForwardDropout(
        rate: Float(configuration.dropout), seed: seed, step: place.step * place.partCount + place.part)
    }
    if configuration.checkpointsLayers { options.checkpointing = parameters.values.first?.tape }
    let drift = place.isLogged ? DriftObserver(batch.roles) : nil
    if let drift { options.observers = [drift] }
    let result = model.decoder.forward(batch.embeddings(model), context: batch.context, options: options)
    guard let logits = result.logits else {
      // No question of this batch can be answered from its media.
      return TrainingLoss(sum: Tensor(scalar: 0), weight: 0, tokenCount: batch.rowCount)
    }
    var sum = logits.crossEntropy(labels: batch.labels).rowSums()
    if configuration.zLoss > 0 {
      let normaliser = logits.logSumExp()
      sum = sum + Float(configuration.zLoss) * (normaliser * normaliser).rowSums()
    }
    return TrainingLoss(
      sum: sum, weight: Double(batch.labels.count), tokenCount: batch.rowCount,
      details: drift?.figures ?? [])
  }

  /// The batch of a part of a step: groups in an order of their own in every epoch, media varied and blanked.
  func batch(at place: TrainingPlace) -> TrainingBatch {
    let epoch = place.step / stepsPerEpoch
    var order = RandomStream(seed: seed, purpose: "order", epoch: epoch)
    let permutation = order.permutation(of: questions.groups.count)
    let part = (place.step % stepsPerEpoch) * place.partCount + place.part
    var stream = RandomStream(
      seed: seed, purpose: "batch", epoch: epoch, step: place.step % stepsPerEpoch, id: place.part)
    let isMixed = Double(place.step) >= configuration.mixedFrom * Double(configuration.driver.schedule.total)
    let layout = isMixed ? drawLayout(using: &stream) : configuration.layouts[0].media
    var batch = TrainingBatch()
    for number in part * configuration.groupCount..<(part + 1) * configuration.groupCount {
      append(
        questions.groups[permutation[number]], layout: layout, isMixed: isMixed, to: &batch, using: &stream)
    }
    return batch
  }

  private func drawLayout(using stream: inout RandomStream) -> [Modality] {
    let layouts = configuration.layouts
    var rest = stream.uniform() * layouts.reduce(0) { $0 + $1.weight }
    for layout in layouts {
      rest -= layout.weight
      if rest < 0 { return layout.media }
    }
    return layouts[layouts.count - 1].media
  }

  private func append(
    _ group: TrainingQuestions.Group, layout: [Modality], isMixed: Bool, to batch: inout TrainingBatch,
    using stream: inout RandomStream
  ) {
    let present = layout.filter { group.rows[$0] != nil }
    var answerable = group.questions.filter { question in
      (configuration.needs[question.type] ?? Set(group.rows.keys)).isSubset(of: present)
    }
    guard !answerable.isEmpty else { return }
    // Blanks are for questions that still have all of their media to look at in other groups.
    let mayBlank = isMixed && Set(present) == Set(group.rows.keys) && present.count == group.rows.count
    let media = present.map { modality in
      drawMedium(modality, row: group.rows[modality] ?? 0, mayBlank: mayBlank, using: &stream)
    }
    if mayBlank && configuration.blankQuestions > 0, let padding = tokenizer.paddingID {
      answerable = answerable.map { question in
        stream.uniform() < configuration.blankQuestions ? question.blanked(padding) : question
      }
    }
    batch.append(opening: (questions.opening, questions.openingRoles), media: media, questions: answerable)
  }

  private func drawMedium(
    _ modality: Modality, row: Int, mayBlank: Bool, using stream: inout RandomStream
  ) -> (modality: Modality, inputs: [Float], rows: Int) {
    let order = media.order[modality] ?? []
    let shape = media.shapes[modality] ?? []
    let grid = model.grid(of: Medium(modality: modality, shape: shape, bytes: [], identity: ""))
    let rows = grid.rows * grid.columns
    let share = configuration.blankMedia[modality] ?? 0
    if mayBlank && share > 0 && stream.uniform() < share {
      return (modality, Array(repeating: 0, count: order.count), rows)
    }
    var row = row
    if let choices = media.sameLabel?[row] { row = choices[stream.integer(below: choices.count)] }
    let elements = configuration.augmentation.varied(
      media.elements[modality]?[row] ?? [], shape: shape, modality, using: &stream)
    return (modality, order.map { elements[$0] }, rows)
  }

  /// Exact match of greedy answers on the validation data, in all and by type, of the weights as they are saved.
  public func evaluate(_ parameters: ParameterSet, step: Int) throws -> [TrainingMetric] {
    let rounded = try Dictionary(
      uniqueKeysWithValues: stored(parameters).map { ($0.name, Tensor(try $0.floats(), shape: $0.shape)) })
    let model = try Self.model(reader, rounded)
    var generator = Generator(model)
    generator.limit = configuration.answerLimit
    var counts: [String: (right: Int, all: Int)] = [:]
    for start in stride(from: 0, to: validation.count, by: Self.answersPerBatch) {
      let samples = validation[start..<min(validation.count, start + Self.answersPerBatch)]
      let prompts = try samples.map { try model.prompt(for: $0, tokenizer: tokenizer) }
      let answers = try generator.answers(to: Generator.Start(prompts, model: model))
      for (sample, answer) in zip(samples, answers) {
        let isRight = Self.trimmed(try tokenizer.decode(answer.ids)) == Self.trimmed(sample.answer ?? "")
        for key in ["", sample.tags["type"] ?? "none"] {
          let before = counts[key] ?? (0, 0)
          counts[key] = (before.right + (isRight ? 1 : 0), before.all + 1)
        }
      }
    }
    return counts.sorted { $0.key < $1.key }.map { key, count in
      TrainingMetric(
        tag: key.isEmpty ? "exact_match" : "exact_match/" + key,
        value: Double(count.right) / Double(count.all))
    }
  }

  private static func trimmed(_ text: String) -> String {
    text.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// The weights as a checkpoint holds them: bfloat16.
  private func stored(_ parameters: ParameterSet) throws -> [StoredTensor] {
    try zip(parameters.names, parameters.values).map { name, value in
      try StoredTensor(name: name, shape: value.shape, roundingToBFloat16: value.hostValues())
    }
  }

  /// Writes a checkpoint folder: configuration, weights, tokenizer.
  public func write(_ parameters: ParameterSet, to folder: RunFolder, under name: String) throws {
    let tensors = try stored(parameters)
    try folder.write(
      to: name + "/model.safetensors",
      by: { try SafetensorsWriter.write(tensors: tensors, metadata: ["format": "pt"], to: $0.path) })
    for file in files.copies {
      try folder.write(to: "\(name)/\(file.name)") { try $0.write(file.bytes) }
    }
  }
}

extension TrainingQuestions.Question {
  /// The question without its words: padding in their place.
  func blanked(_ padding: Int) -> TrainingQuestions.Question {
    TrainingQuestions.Question(
      type: type, ids: zip(ids, roles).map { $1 == .question ? padding : $0 }, roles: roles,
      answerCount: answerCount)
  }
}
