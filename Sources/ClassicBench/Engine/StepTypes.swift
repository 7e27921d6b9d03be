import RunKit
import TensorCore

/// Inputs of the modalities and labels of some samples.
struct ClassicBatch {
  /// For each modality `[samples] + inputShape`.
  var inputs: [Tensor]
  /// For each sample a class.
  var labels: [Int]
  /// Which modalities of each sample take part, `[sample][modality]`; nil for all. Features of the others are set to 0.
  var keep: [[Bool]]?
  /// What stands for each sample in the training set.
  var indices: [Int] = []

  /// The number of samples.
  var count: Int { labels.count }
}

/// Where a step stands.
struct StepPlace: Sendable {
  /// The pass over the data, from 0.
  var epoch = 0
  /// Steps of the optimizer before this one.
  var step = 0
  /// The batch in the epoch, from 0.
  var batch = 0
  /// Batches of an epoch.
  var batchesPerEpoch = 1
  /// Which of the steps on the same batch, from 0.
  var part = 0
}

/// What part a modality plays in a step.
enum Participation: Sendable {
  /// Its encoder runs and is trained.
  case trained
  /// Its encoder runs as in evaluation; no gradient reaches it.
  case observed
  /// Its encoder does not run.
  case absent
}

/// What a step does: which encoders run, and which parameters move.
struct SubStep {
  /// One for each modality.
  var participation: [Participation]
  /// Whether a parameter gets a gradient.
  var trains: (String) -> Bool = { _ in true }
  /// What kind of step it is, for methods with several.
  var phase = ""
  /// Whether the optimizer forgets its momentum before this step.
  var restartsOptimizer = false

  /// All modalities together.
  static func joint(_ count: Int) -> SubStep {
    SubStep(participation: Array(repeating: .trained, count: count))
  }
}

/// One term of the loss.
struct LossTerm {
  /// Its name in logs.
  let name: String
  /// A tracked scalar.
  let value: Tensor
  /// What it counts in the sum; 0 for a figure that is only logged.
  var weight = 1.0
}

/// How gradients of several losses are computed.
enum GradientMode {
  /// Of their weighted sum.
  case summed
  /// Of each on its own; the engine adds them up, and the method sees the parts.
  case perLoss
}

/// The gradients of a step, for a method to change before the optimizer takes them.
struct StepGradients {
  /// By parameter; one without gradient is absent and stays as it is.
  var all: [String: Tensor]
  /// By loss and parameter, where the method asked for them: times the weight of the loss.
  var perLoss: [String: [String: Tensor]] = [:]
  /// What the update of a parameter is multiplied by, where coefficients are not for gradients.
  var updateFactors: [String: Double] = [:]
}

/// What coefficients of methods are multiplied with.
enum CoefficientTarget: String, CaseIterable, Sendable {
  /// The gradient, before momentum and weight decay.
  case grad
  /// The step that the optimizer makes of the plain gradient, momentum and weight decay included.
  case update
}

/// Random numbers of a step, by purpose; in training from keyed streams, in tests given.
protocol StepRandom {
  /// Draws from the standard normal distribution.
  func normals(_ count: Int, for purpose: String) -> [Float]
  /// Draws from 0..<1.
  func uniforms(_ count: Int, for purpose: String) -> [Float]
  /// The numbers `0..<count` in a random order.
  func order(of count: Int, for purpose: String) -> [Int]
}

/// Random numbers keyed by seed, purpose, epoch and step.
struct KeyedRandom: StepRandom {
  let seed: Int
  let place: StepPlace

  private func stream(_ purpose: String) -> RandomStream {
    RandomStream(seed: seed, purpose: purpose, epoch: place.epoch, step: place.step, id: place.part)
  }

  func normals(_ count: Int, for purpose: String) -> [Float] {
    var stream = stream(purpose)
    return (0..<count).map { _ in Float(stream.normal()) }
  }

  func uniforms(_ count: Int, for purpose: String) -> [Float] {
    var stream = stream(purpose)
    return (0..<count).map { _ in stream.uniformFloat() }
  }

  func order(of count: Int, for purpose: String) -> [Int] {
    var stream = stream(purpose)
    return stream.permutation(of: count)
  }
}

/// What a method knows about the step it is in.
final class StepContext {
  let model: ClassicModel
  let place: StepPlace
  let subStep: SubStep
  let random: any StepRandom
  /// The tape of the step, for methods that need gradients of single terms.
  let tape: Tape
  /// What coefficients are multiplied with.
  let coefficients: CoefficientTarget
  /// Whether tensors are noted too: in tests.
  let recordsTensors: Bool
  /// What stands before the names of figures: the part of a composed method that notes them.
  var notePrefix = ""
  /// Figures of the step, for the log.
  private(set) var figures: [(name: String, values: [Double])] = []
  /// Tensors of the step, in tests.
  private(set) var tensors: [String: Tensor] = [:]

  init(
    model: ClassicModel, place: StepPlace, subStep: SubStep, random: any StepRandom, tape: Tape,
    recordsTensors: Bool, coefficients: CoefficientTarget = .grad
  ) {
    self.coefficients = coefficients
    (self.model, self.place, self.subStep, self.random) = (model, place, subStep, random)
    (self.tape, self.recordsTensors) = (tape, recordsTensors)
  }

  /// Notes figures of the step, one for each modality or one in all.
  func note(_ name: String, _ values: [Double]) { figures.append((notePrefix + name, values)) }
  /// Notes a tensor where tensors are wanted.
  func note(_ name: String, tensor: @autoclosure () -> Tensor) {
    if recordsTensors { tensors[name] = tensor().detached }
  }
}

/// What the model computed on a batch.
final class Forward {
  let model: ClassicModel
  /// Leaves of the tape.
  let parameters: Parameters
  let batch: ClassicBatch
  /// For each row of the features its class; fewer than the batch has where a method drops samples.
  var labels: [Int]
  /// Which samples of the batch the rows are, where a method drops some; nil for all.
  var rows: [Int]?
  /// h_m, tracked; nil for an absent modality.
  var features: [Tensor?]
  /// What stands in place of the model's own fused logits, where a method changes them.
  var fusedOverride: Tensor?

  /// What a sample of each class counts in a mean; nil for all the same.
  let classWeights: [Double]?

  private var unimodalCache: [Int: Tensor] = [:]
  private var fusedCache: Tensor?

  init(
    model: ClassicModel, parameters: Parameters, batch: ClassicBatch, features: [Tensor?],
    classWeights: [Double]? = nil
  ) {
    (self.model, self.parameters, self.batch, self.features) = (model, parameters, batch, features)
    (labels, self.classWeights) = (batch.labels, classWeights)
  }

  /// The mean over the samples of the cross-entropy with their labels, in nats.
  func meanCrossEntropy(_ logits: Tensor) -> Tensor { mean(logits.crossEntropy(labels: labels)) }

  /// The mean of a number of each sample; with weights of classes Σ w[y_i] x_i / Σ w[y_i].
  func mean(_ values: Tensor) -> Tensor {
    guard let classWeights else { return values.mean() }
    let weights = labels.map { classWeights[$0] }
    let total = max(weights.reduce(0, +), .leastNormalMagnitude)
    return (values * Tensor(weights.map { Float($0 / total) }, shape: [weights.count])).total()
  }

  /// h_m of a modality that takes part.
  func feature(_ index: Int) -> Tensor {
    let feature = features[index]
    require(feature != nil, "the modality \(model.names[index]) does not take part in this step")
    return feature ?? Tensor(zeros: [])
  }

  /// All h_m, of a step in which all modalities take part.
  var allFeatures: [Tensor] { features.indices.map(feature) }

  /// z.
  var fused: Tensor {
    if let fusedOverride { return fusedOverride }
    if let fusedCache { return fusedCache }
    let logits = model.head.fused(allFeatures, model.names, parameters)
    fusedCache = logits
    return logits
  }

  /// u_m of the head.
  func unimodal(_ index: Int) -> Tensor {
    if let cached = unimodalCache[index] { return cached }
    // Heads that are shared by all modalities can score one without the others.
    let features =
      model.head == .shared ? features.map { $0 ?? Tensor(zeros: feature(index).shape) } : allFeatures
    let logits = model.head.unimodal(index, features, model.names, parameters)
    unimodalCache[index] = logits
    return logits
  }

  /// u_m of the head for all modalities, from features and parameters without a tape: scores that methods compare.
  func detachedUnimodal() -> [Tensor] {
    let (features, parameters) = (allFeatures.map(\.detached), parameters.detached)
    return features.indices.map { model.head.unimodal($0, features, model.names, parameters) }
  }

  /// The logits of a modality's own classifier.
  func unimodalHead(_ index: Int) -> Tensor { model.unimodalHead(index, of: feature(index), parameters) }
}
