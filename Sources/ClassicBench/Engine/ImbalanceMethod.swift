import TensorCore
import TokenModel

/// A way to train several modalities together: what it changes in the loop that all methods share.
///
/// Every hook has a default that does nothing, so that a method is the list of what it changes. A step is
///
///     subStep → inputs → encoders → mask → features → logits → losses → backward → afterBackward → optimizer → afterStep
///
/// Scores that hooks compare are detached copies; masks are the engine's; no hook sees the test data. Whatever a method
/// remembers from step to step is in `state`, which is saved with the weights.
protocol ImbalanceMethod: AnyObject, MethodDescription {
  /// Hooks in which the method decides alone, for the check of composed methods.
  static var hooks: Set<MethodHook> { get }
  /// Whether the method looks at the fused head.
  static var needsFusedHead: Bool { get }
  /// The name in results: that of the method, of a composed one those of its parts.
  var identifier: String { get }
  /// Why gradients of several batches cannot be one step of the method; nil if they can.
  var accumulationRefusal: String? { get }
  /// Why the method has no coefficients that updates could be multiplied by in place of gradients; nil if it has, or has
  /// nothing of the kind.
  var updateRefusal: String? { get }
  /// H0. Why the method cannot train this model; nil if it can. What the modalities alone decide is in `refusal(of:)`.
  func refusal(of model: ClassicModel) -> String?
  /// H1. Changes the model: its head, classifiers of single modalities, parameters of the method's own.
  func build(_ model: inout ClassicModel)
  /// H0. Whether a part of the training set is held out for the method.
  var needsHeldOut: Bool { get }
  /// H2. Called once before the first step; a resumed run gets the parameters it began with, then `state`.
  ///
  /// - Parameter samples: How many samples are trained on.
  func fitStart(_ model: ClassicModel, _ parameters: ParameterSet, samples: Int)
  /// H3. Called before the first step of an epoch, also of a run that is resumed there.
  func epochStart(_ epoch: Int, _ services: any TrainingServices) throws
  /// H4. What is seen in an epoch beside every training sample: samples of which only some modalities are kept.
  func extraItems(_ epoch: Int) -> [ExtraItem]
  /// H5. Steps of the optimizer for each batch.
  func stepsPerBatch(_ model: ClassicModel) -> Int
  /// H5. What a step does.
  func subStep(_ model: ClassicModel, at place: StepPlace) -> SubStep
  /// H6. Inputs that take the place of a batch's.
  func inputs(_ batch: ClassicBatch, _ context: StepContext) -> [Tensor]
  /// H7. Changes features or drops samples.
  func features(_ forward: Forward, _ context: StepContext)
  /// H8. The logits that are evaluated, of features that the engine may have masked.
  ///
  /// - Parameters:
  ///   - features: h_m without a tape; masked ones hold what the mask puts there.
  ///   - present: Which modalities are not masked.
  func evaluationLogits(
    _ model: ClassicModel, _ features: [Tensor], present: [Bool], _ parameters: Parameters
  ) -> Tensor
  /// H8. The logits of one modality alone that are evaluated.
  func evaluationUnimodal(
    _ model: ClassicModel, _ features: [Tensor], _ index: Int, _ parameters: Parameters
  ) -> Tensor
  /// H9. The terms of the loss.
  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm]
  /// H10. How their gradients are computed.
  var gradientMode: GradientMode { get }
  /// H11. Changes gradients.
  func afterBackward(_ gradients: inout StepGradients, _ forward: Forward, _ context: StepContext)
  /// H12. Called at the end of a step.
  func afterStep(_ forward: Forward, _ context: StepContext)
  /// H13. Called after the last step of an epoch and its evaluation, before the next epoch; may change parameters.
  func epochEnd(_ epoch: Int, _ services: any TrainingServices) throws
  /// H14. Work of a step in forward passes of all encoders; a joint step is 1 forward and 2 backward.
  func cost(modalities: Int) -> MethodCost
  /// H15. Numbers that are remembered from step to step, by name; shapes must not change after `fitStart`.
  var state: [(name: String, value: Tensor)] { get set }
}

/// Work of a training step, in forward passes over all encoders; passes over some of them count in proportion.
struct MethodCost: Equatable {
  var forward = 1.0
  /// A backward pass is the work of two forward passes.
  var backward = 2.0
}

/// A sample that is seen once more with only some modalities.
struct ExtraItem: Equatable {
  let sample: Int
  let keep: [Bool]
}

/// What the loop does for a method between steps. Nothing here reaches test data.
protocol TrainingServices {
  var model: ClassicModel { get }
  /// The parameters; a method may change them between epochs.
  var parameters: ParameterSet { get }
  /// The seed of the run.
  var seed: Int { get }
  /// Labels of the samples that are trained on.
  var trainingLabels: [Int] { get }
  /// Labels of samples that were held out of the training set.
  var heldOutLabels: [Int] { get }
  /// h_m of training samples as in evaluation, without a tape.
  func trainingFeatures(_ indices: [Int]) -> [Tensor]
  /// h_m of held-out samples.
  func heldOutFeatures() -> [Tensor]
  /// Inputs and labels of training samples, as they are.
  func trainingBatch(_ indices: [Int]) -> ClassicBatch
  /// Inputs and labels of held-out samples.
  func heldOutBatch(_ indices: [Int]) -> ClassicBatch
  /// The learning rate of the first step.
  var learningRate: Double { get }
  /// What a sample of each class counts in the mean of a classification loss; nil where all count the same.
  var classWeights: [Double]? { get }
  /// Trains a copy of the current model on one loss alone and gives mean losses before and after.
  ///
  /// - Parameter head: A modality, or M for the fused head.
  func soloLosses(head: Int, epochs: Int) throws -> SoloLosses
}

/// Mean losses of one head on training and held-out samples, before and after training it alone.
struct SoloLosses: Equatable {
  var trainBefore: Double
  var heldOutBefore: Double
  var trainAfter: Double
  var heldOutAfter: Double
}

extension ImbalanceMethod {
  static var hooks: Set<MethodHook> { [] }
  static var needsFusedHead: Bool { true }
  var identifier: String { Self.id }
  var accumulationRefusal: String? { nil }
  var updateRefusal: String? { nil }
  func refusal(of model: ClassicModel) -> String? { nil }
  var needsHeldOut: Bool { false }
  func build(_ model: inout ClassicModel) {}
  func fitStart(_ model: ClassicModel, _ parameters: ParameterSet, samples: Int) {}
  func epochStart(_ epoch: Int, _ services: any TrainingServices) throws {}
  func extraItems(_ epoch: Int) -> [ExtraItem] { [] }
  func stepsPerBatch(_ model: ClassicModel) -> Int { 1 }
  func subStep(_ model: ClassicModel, at place: StepPlace) -> SubStep { .joint(model.count) }
  func inputs(_ batch: ClassicBatch, _ context: StepContext) -> [Tensor] { batch.inputs }
  func features(_ forward: Forward, _ context: StepContext) {}

  func evaluationLogits(
    _ model: ClassicModel, _ features: [Tensor], present: [Bool], _ parameters: Parameters
  ) -> Tensor { model.head.fused(features, model.names, parameters) }

  func evaluationUnimodal(
    _ model: ClassicModel, _ features: [Tensor], _ index: Int, _ parameters: Parameters
  ) -> Tensor { model.head.unimodal(index, features, model.names, parameters) }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] {
    [LossTerm(name: "multi", value: forward.meanCrossEntropy(forward.fused))]
  }

  var gradientMode: GradientMode { .summed }
  func afterBackward(_ gradients: inout StepGradients, _ forward: Forward, _ context: StepContext) {}
  func afterStep(_ forward: Forward, _ context: StepContext) {}
  func epochEnd(_ epoch: Int, _ services: any TrainingServices) throws {}
  func cost(modalities: Int) -> MethodCost { MethodCost() }

  var state: [(name: String, value: Tensor)] {
    get { [] }
    set {}
  }
}

/// Numbers in Float64 as a tensor that loses nothing: each as three floats that add up to it.
enum ExactNumbers {
  static func tensor(_ values: [Double]) -> Tensor {
    var parts: [Float] = []
    for value in values {
      let high = Float(value)
      let middle = high.isFinite ? Float(value - Double(high)) : 0
      let low = high.isFinite ? Float(value - Double(high) - Double(middle)) : 0
      parts += [high, middle, low]
    }
    return Tensor(parts, shape: [values.count, 3])
  }

  static func values(_ tensor: Tensor) -> [Double] {
    tensor.hostRows().map { row in row.reduce(0.0) { $0 + Double($1) } }
  }
}
