import RunKit
import TensorCore

/// Nominal operations of a training, as the kernels count them: a multiplication and an addition of a matrix product, a
/// convolution or attention are two, a fast convolution counts as the exact one, all else is nothing.
///
/// Evaluations are not counted.
public struct TrainingOperations: Equatable, Sendable {
  /// From the inputs of all steps to their losses: passes of teachers and further passes of a method too.
  public internal(set) var forward = 0
  /// Gradients of all steps, and what a method does to them.
  public internal(set) var backward = 0
  /// What a method does between epochs: valuations, training of single heads.
  public internal(set) var betweenEpochs = 0
  /// The whole training of the runs that this one learns from.
  public internal(set) var teachers = 0
  /// Samples of all steps, each as often as it was seen.
  public internal(set) var samples = 0

  /// Nothing yet.
  init() {}

  /// All of the training.
  public var total: Int { forward + backward + betweenEpochs + teachers }
  /// Of the forward pass of one sample, the mean over steps.
  public var forwardPerSample: Double { Double(forward) / Double(max(1, samples)) }
  /// Of the backward pass of one sample, the mean over steps.
  public var backwardPerSample: Double { Double(backward) / Double(max(1, samples)) }

  /// As results hold it.
  var json: JSONValue {
    [
      "forward": .integer(forward), "backward": .integer(backward), "between_epochs": .integer(betweenEpochs),
      "teachers": .integer(teachers), "total": .integer(total), "samples": .integer(samples),
      "forward_per_sample": .number(forwardPerSample), "backward_per_sample": .number(backwardPerSample),
    ]
  }

  /// Reads what was written; nil for anything else.
  init?(_ value: JSONValue) {
    guard let forward = value["forward"]?.intValue, let backward = value["backward"]?.intValue,
      let between = value["between_epochs"]?.intValue, let teachers = value["teachers"]?.intValue,
      let samples = value["samples"]?.intValue,
      // Their sum is a number too.
      [forward, backward, between, teachers, samples].allSatisfy({ 0...1 << 60 ~= $0 })
    else { return nil }
    (self.forward, self.backward, betweenEpochs) = (forward, backward, between)
    (self.teachers, self.samples) = (teachers, samples)
  }

  /// Numbers of a saved training, in a fixed order; those of teachers are known anew.
  var counts: [Int] {
    get { [forward, backward, betweenEpochs, samples] }
    set { (forward, backward, betweenEpochs, samples) = (newValue[0], newValue[1], newValue[2], newValue[3]) }
  }
}
