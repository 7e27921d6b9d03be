public import RunKit
public import TensorCore
import TokenModel

/// Times training steps: loss, gradients, AdamW. Small models, whose weights and batch another program wrote, are at hand.
public struct TrainingBenchmark: Sendable {
  /// What is trained.
  public enum Model: String, CaseIterable, Sendable {
    /// A LLaMA, next-token loss over all positions of sequences of one length.
    case decoder
    /// Three bidirectional transformer encoders; the means over time side by side, and a linear classifier.
    case encoders
    /// Two small convolutional networks, side by side before a linear classifier.
    case towers
    /// ResNet18 for a spectrogram and for frames of a video, with fast convolutions, side by side before a linear
    /// classifier.
    case resnets
  }

  /// The outcome.
  public struct Measurement: Sendable, Equatable {
    /// Seconds of each timed step.
    public let seconds: [Double]
    /// The loss before every step, warm-ups included.
    public let losses: [Double]
    /// Of the time of the timed steps, the part that the step driver adds to loss, gradients and update by its own clock: logs,
    /// events, schedule, and the norm of the gradients, which is timed apart; nil without the driver.
    public var driverShare: Double?
  }

  /// Timed steps.
  public var repeatCount = 10
  /// Steps before them.
  public var warmUpCount = 2

  /// A benchmark with ten timed steps after two others.
  public init() {}

  /// Measures.
  ///
  /// - Parameter file: Tensors `weight.NAME` and `input.NAME`, and for the decoder the configuration as `settings`.
  /// - Throws: `SafetensorsError`, `StoredTensorError`, `ConfigurationError` where the file does not fit the model.
  public func run(_ model: Model, _ file: SafetensorsFile, through folder: RunFolder? = nil) throws
    -> Measurement
  {
    let (path, loss) = (file.path, try Self.loss(of: model, file))
    return try run(Self.parameters(file), through: folder) { parameters in
      try loss(WeightSource(in: path) { name, _ in parameters[name] })
    }
  }

  /// Measures steps of any training.
  ///
  /// - Parameters:
  ///   - folder: Of a new run, where the steps are to go through the step driver with a line in the log for each, as the
  ///     loop of a training does them. It holds the log and the state afterwards.
  ///   - isWanted: Asked before every timed step; measuring ends with the first one that is not wanted. Not with a folder.
  ///   - report: Told the seconds and the loss of every timed step. Not with a folder.
  ///   - loss: The mean loss over tracked parameters, by name.
  /// - Throws: What the loss throws; with a folder `FileError`.
  public func run(
    _ parameters: ParameterSet, through folder: RunFolder? = nil, isWanted: () -> Bool = { true },
    report: (_ seconds: Double, _ loss: Double) throws -> Void = { _, _ in },
    loss: @escaping @Sendable ([String: Tensor]) throws -> Tensor
  ) throws -> Measurement {
    let optimizer = Self.optimizer(parameters)
    if let folder { return try run(optimizer, through: folder, loss) }
    var (seconds, losses) = ([Double](), [Double]())
    for step in 0..<warmUpCount + repeatCount {
      if step >= warmUpCount && !isWanted() { break }
      let start = ProcessFacts.monotonicSeconds
      let tape = Tape()
      let leaves = parameters.values.map { tape.leaf($0) }
      let value = try loss(Dictionary(uniqueKeysWithValues: zip(parameters.names, leaves)))
      optimizer.step(tape.gradients(of: value, for: leaves, retaining: false), learningRate: 1e-3)
      let end = ProcessFacts.monotonicSeconds
      losses.append(value.hostValues().reduce(0) { $0 + Double($1) })
      if step >= warmUpCount {
        seconds.append(end - start)
        try report(end - start, losses[step])
      }
    }
    return Measurement(seconds: seconds, losses: losses)
  }

  /// The same steps through the step driver. The seconds are those from step to step; the last one, after which the state
  /// is saved, is left out.
  private func run(
    _ optimizer: Optimizer, through folder: RunFolder,
    _ loss: @escaping @Sendable ([String: Tensor]) throws -> Tensor
  ) throws -> Measurement {
    var options = StepDriver.Options(
      schedule: LearningRateSchedule(peak: 1e-3, total: warmUpCount + repeatCount + 1))
    (options.logInterval, options.evaluationInterval, options.saveInterval) = (1, .max, .max)
    let driver = try StepDriver(Task(loss: loss), optimizer: optimizer, options: options, folder: folder)
    var (seconds, losses) = ([Double](), [Double]())
    var (before, after) = (StepDriver.Report(), StepDriver.Report())
    var start = ProcessFacts.monotonicSeconds
    _ = try driver.run { progress in
      let end = ProcessFacts.monotonicSeconds
      if progress.step == warmUpCount { before = driver.report }
      if progress.step == warmUpCount + repeatCount { after = driver.report }
      if progress.step > warmUpCount && progress.step <= warmUpCount + repeatCount {
        seconds.append(end - start)
      }
      losses.append(progress.loss)
      start = end
    }
    let normStart = ProcessFacts.monotonicSeconds
    for _ in 0..<repeatCount { _ = GradientClipping.norm(of: optimizer.parameters.values) }
    let added =
      after.otherSeconds - before.otherSeconds + ProcessFacts.monotonicSeconds - normStart
    return Measurement(
      seconds: seconds, losses: losses, driverShare: added / (after.stepSeconds - before.stepSeconds))
  }

  /// The loss as the step driver wants it, with nothing to evaluate and nothing to write.
  private struct Task: TrainingTask {
    let loss: @Sendable ([String: Tensor]) throws -> Tensor
    var stepsPerEpoch: Int { 1 }
    func loss(_ parameters: [String: Tensor], at place: TrainingPlace) throws -> TrainingLoss {
      TrainingLoss(sum: try loss(parameters), weight: 1, tokenCount: 0)
    }
    func evaluate(_ parameters: ParameterSet, step: Int) throws -> [TrainingMetric] { [] }
    func write(_ parameters: ParameterSet, to folder: RunFolder, under name: String) throws {}
  }

  private static func parameters(_ file: SafetensorsFile) throws -> ParameterSet {
    ParameterSet(
      try file.tensors.filter { $0.name.hasPrefix("weight.") }.map {
        (String($0.name.dropFirst("weight.".count)), Tensor(try $0.floats(), shape: $0.shape))
      })
  }

  private static func optimizer(_ parameters: ParameterSet) -> Optimizer {
    Optimizer(parameters, rule: AdamW(beta1: 0.9, beta2: 0.98), groups: [ParameterGroup(weightDecay: 0.01)])
  }

  private static func loss(
    of model: Model, _ file: SafetensorsFile
  ) throws -> @Sendable (WeightSource) throws -> Tensor {
    func floats(_ name: String) throws -> Tensor {
      let stored = try file.tensor("input." + name)
      return Tensor(try stored.floats(), shape: stored.shape)
    }
    switch model {
    case .decoder: return try decoderLoss(file)
    case .encoders:
      let inputs = try (0..<3).map { try floats("x.\($0)") }
      let labels = try file.tensor("input.labels").integers()
      return { try encodersLoss(inputs, labels: labels, $0) }
    case .towers:
      // One channel: where it stands among the axes makes no difference.
      let images = try ["audio", "image"].map { name in
        let image = try floats(name)
        return image.reshaped(to: [image.shape[0], image.shape[2], image.shape[3], 1])
      }
      let labels = try file.tensor("input.labels").integers()
      return { try towersLoss(images, labels: labels, $0) }
    case .resnets:
      let images = try ["audio", "frames"].map { ($0, try floats($0)) }
      let labels = try file.tensor("input.labels").integers()
      return { try resnetsLoss(images, labels: labels, $0) }
    }
  }

  private static func decoderLoss(_ file: SafetensorsFile) throws -> @Sendable (WeightSource) throws -> Tensor
  {
    let reader = try ConfigurationReader(
      path: file.path, bytes: Array((file.metadata["settings"] ?? "{}").utf8))
    let configuration = try LLaMAConfiguration(reader)
    let stored = try file.tensor("input.ids")
    let (ids, length) = (try stored.integers(), stored.shape.last ?? 1)
    let segments = RowSegments(lengths: Array(repeating: length, count: ids.count / max(length, 1)))
    var joined = TokenContext(
      segments: segments, positions: ids.indices.map { $0 % length },
      roles: Array(repeating: .question, count: ids.count))
    joined.joinsSequences = true
    let context = joined
    var labels = Array(ids.dropFirst()) + [-1]
    for last in stride(from: length - 1, to: ids.count, by: length) { labels[last] = -1 }
    let targets = labels
    return { weights in
      let decoder = try LLaMADecoder(configuration, weights: weights)
      var options = ForwardOptions()
      options.logits = .all
      let result = decoder.forward(decoder.embedding.rows(ids), context: context, options: options)
      guard let logits = result.logits else { preconditionFailure("logits were asked for") }
      return (1 / Float(targets.count { $0 >= 0 })) * logits.crossEntropy(labels: targets).total()
    }
  }

  /// Layers as PyTorch's `TransformerEncoderLayer` with the norm first.
  private static func encodersLoss(_ inputs: [Tensor], labels: [Int], _ weights: WeightSource) throws
    -> Tensor
  {
    let (batch, length, width, heads) = (inputs[0].shape[0], inputs[0].shape[1], inputs[0].shape[2], 4)
    let segments = RowSegments(lengths: Array(repeating: length, count: batch))
    let sequences = (0..<batch).map { AttentionSequence(queries: segments[$0], keys: segments[$0]) }
    let attention = Attention(heads: heads, keyValueHeads: heads, headSize: width / heads)
    func vector(_ source: WeightSource, _ name: String, _ count: Int) throws -> Tensor {
      try source.tensor(name, shape: [count])
    }
    let means = try inputs.enumerated().map { index, input -> Tensor in
      var x = input.reshaped(to: [batch * length, width])
      for layer in 0..<4 {
        let source = weights.under("encoders.\(index).layers.\(layer)")
        let own = source.under("self_attn")
        let normed = x.layerNorm(
          weight: try vector(source, "norm1.weight", width), bias: try vector(source, "norm1.bias", width),
          epsilon: 1e-5)
        let matrix = try own.tensor("in_proj_weight", shape: [3 * width, width])
        let bias = try vector(own, "in_proj_bias", 3 * width)
        let parts = (0..<3).map { part -> Tensor in
          let rows = part * width..<(part + 1) * width
          return LinearWeight(matrix.slice(rows)).forward(normed, bias: bias.slice(rows))
        }
        let attended = attention(
          queries: parts[0], keys: parts[1], values: parts[2], sequences: sequences, mask: .full
        ).output
        x =
          x
          + LinearWeight(try own.tensor("out_proj.weight", shape: [width, width])).forward(
            attended, bias: try vector(own, "out_proj.bias", width))
        let second = x.layerNorm(
          weight: try vector(source, "norm2.weight", width), bias: try vector(source, "norm2.bias", width),
          epsilon: 1e-5)
        let inner = try source.plainLinear("linear1", from: width, to: 4 * width, hasBias: true)
        let outer = try source.plainLinear("linear2", from: 4 * width, to: width, hasBias: true)
        let hidden = inner.weight.forward(second, bias: inner.bias).gelu()
        x = x + outer.weight.forward(hidden, bias: outer.bias)
      }
      return x.reshaped(to: [batch, length, 1, width]).globalAveragePooled()
    }
    let head = try weights.plainLinear("head", from: 3 * width, to: 6, hasBias: true)
    let logits = head.weight.forward(Tensor.concatenatedColumns(means), bias: head.bias)
    return logits.crossEntropy(labels: labels).mean()
  }

  private static func towersLoss(_ images: [Tensor], labels: [Int], _ weights: WeightSource) throws -> Tensor
  {
    let convolution = Convolution(ImageWindow(size: (3, 3), padding: (1, 1)))
    let pooling = ImageWindow(size: (2, 2), stride: (2, 2))
    let features = try zip(["audio", "image"], images).map { name, image -> Tensor in
      let source = weights.under(name)
      var (x, channels) = (image, 1)
      for (index, outputs) in [16, 32, 64].enumerated() {
        let (first, second) = (source.under("\(4 * index)"), source.under("\(4 * index + 1)"))
        x = convolution(
          x, weight: try first.tensor("weight", shape: [outputs, 3, 3, channels]),
          bias: try first.tensor("bias", shape: [outputs]))
        x =
          BatchNorm().train(
            x, weight: try second.tensor("weight", shape: [outputs]),
            bias: try second.tensor("bias", shape: [outputs]), buffers: BatchNorm.Buffers(channels: outputs)
          ).output.relu()
        if index < 2 { x = x.maxPooled(pooling) }
        channels = outputs
      }
      return x.globalAveragePooled()
    }
    let head = try weights.plainLinear("head", from: 128, to: 10, hasBias: true)
    let logits = head.weight.forward(Tensor.concatenatedColumns(features), bias: head.bias)
    return logits.crossEntropy(labels: labels).mean()
  }

  /// Images have their channels last, `[samples, rows, columns, 1]` and `[samples, frames, rows, columns, 3]`.
  private static func resnetsLoss(
    _ images: [(name: String, values: Tensor)], labels: [Int], _ weights: WeightSource
  ) throws -> Tensor {
    let features = try images.map { name, values -> Tensor in
      let network = ResNet18(channels: values.columns, precision: .fast)
      let source = weights.under(name)
      let tensors = try network.parameters.map { ($0.name, try source.tensor($0.name, shape: $0.shape)) }
      let named = Dictionary(uniqueKeysWithValues: tensors)
      var state = ResNet18.State()
      return network.train(values, state: &state) { name in
        guard let tensor = named[name] else { preconditionFailure("no parameter \(name)") }
        return tensor
      }
    }
    let head = try weights.plainLinear("head", from: 2 * ResNet18.featureSize, to: 6, hasBias: true)
    let logits = head.weight.forward(Tensor.concatenatedColumns(features), bias: head.bias)
    return logits.crossEntropy(labels: labels).mean()
  }
}
