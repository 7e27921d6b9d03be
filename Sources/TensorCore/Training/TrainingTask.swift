public import RunKit

/// What is trained on what: the part of a training that the step driver does not know.
///
/// Everything must depend on the step alone, not on the steps before it: batches and random numbers come from streams
/// keyed by the step, so that a resumed run goes on to the same bytes. What steps do leave behind is in buffers, which are
/// saved with the weights.
public protocol TrainingTask {
  /// Steps of one pass over the data, at least 1.
  var stepsPerEpoch: Int { get }
  /// The loss of one part of a step's batch.
  ///
  /// - Parameter parameters: Leaves of a tape, by name.
  func loss(_ parameters: [String: Tensor], at place: TrainingPlace) throws -> TrainingLoss
  /// Figures on data that are not trained on; the first one chooses the best weights.
  ///
  /// - Parameter step: Steps done.
  func evaluate(_ parameters: ParameterSet, step: Int) throws -> [TrainingMetric]
  /// Writes a model with these weights into a folder of the run, each file in one step.
  ///
  /// - Parameter name: The name of the folder: `best` or `last`.
  func write(_ parameters: ParameterSet, to folder: RunFolder, under name: String) throws
  /// Ends a pass over the data, of which at least one more step follows: after its evaluation, before its state is saved.
  ///
  /// - Parameter epoch: From 0.
  func endEpoch(_ epoch: Int) throws -> TrainingEpochEnd
  /// State beside the weights that steps change, for the saved state.
  ///
  /// - Parameter prefix: What the names begin with.
  func buffers(prefix: String) throws -> [StoredTensor]
  /// Takes the buffers back from a saved state.
  func restoreBuffers(from file: SafetensorsFile, prefix: String) throws
}

extension TrainingTask {
  /// Nothing happens between passes.
  public func endEpoch(_ epoch: Int) throws -> TrainingEpochEnd { TrainingEpochEnd() }
  /// No state beside the weights.
  public func buffers(prefix: String) throws -> [StoredTensor] { [] }
  /// Nothing to take back.
  public func restoreBuffers(from file: SafetensorsFile, prefix: String) throws {}
}

/// What a task did at the end of a pass over the data.
public struct TrainingEpochEnd: Sendable {
  /// Lines for the log, without the step.
  public var lines: [JSONObject] = []
  /// Figures for TensorBoard.
  public var scalars: [(tag: String, value: Double)] = []

  /// Nothing done.
  public init() {}
}

/// Where a training stands when a loss is wanted.
public struct TrainingPlace: Sendable {
  /// The step, from 0.
  public let step: Int
  /// Which part of the step's batch is wanted, from 0; gradients of all parts are added up.
  public let part: Int
  /// How many parts there are.
  public let partCount: Int
  /// Whether the step goes into the log, so that further figures are welcome.
  public let isLogged: Bool

  /// A part of a step.
  public init(step: Int, part: Int, partCount: Int, isLogged: Bool) {
    (self.step, self.part, self.partCount, self.isLogged) = (step, part, partCount, isLogged)
  }
}

/// The loss of a batch, not yet divided by what it was summed over.
public struct TrainingLoss {
  /// A tracked scalar: the sum over tokens or samples.
  public let sum: Tensor
  /// What the sum is divided by to be the mean that is minimised: how many tokens or samples it is over.
  public let weight: Double
  /// Positions that went through the model, for the speed.
  public let tokenCount: Int
  /// Further figures for the log, by tag.
  public let details: [(tag: String, value: Double)]
  /// What the update of a parameter is multiplied by, by name, where that is not 1; of the last part of a step.
  public var updateFactors: [String: Double] = [:]
  /// Tensors of the pass whose gradients make more figures for the log, such as its inputs.
  public var probes: [Tensor] = []
  /// Makes the figures from the gradients of the probes, nil where the loss does not depend on one, of the sum over the
  /// part, whose weight is given too.
  public var figures: ((_ gradients: [Tensor?], _ weight: Double) -> [(tag: String, value: Double)])?

  /// - Parameters:
  ///   - sum: One element.
  ///   - weight: At least 0; 0 for a batch without loss, which changes nothing.
  public init(sum: Tensor, weight: Double, tokenCount: Int, details: [(tag: String, value: Double)] = []) {
    require(sum.count == 1 && weight >= 0, "a loss of shape \(sum.shape) over \(weight)")
    (self.sum, self.weight, self.tokenCount, self.details) = (sum, weight, tokenCount, details)
  }
}

/// One figure of an evaluation.
public struct TrainingMetric: Sendable, Equatable {
  /// Its name in the log, such as `exact_match`.
  public let tag: String
  /// Its value.
  public let value: Double
  /// Whether more is better.
  public let isBetterWhenLarger: Bool

  /// A figure.
  public init(tag: String, value: Double, isBetterWhenLarger: Bool = true) {
    (self.tag, self.value, self.isBetterWhenLarger) = (tag, value, isBetterWhenLarger)
  }
}
