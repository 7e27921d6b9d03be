/// What one optimizer does to one tensor.
public protocol UpdateRule: Sendable {
  /// What is kept for each parameter from step to step: tensors of its shape, zeros at first.
  var stateNames: [String] { get }
  /// Changes a parameter and its state in place.
  ///
  /// - Parameter state: In the order of `stateNames`.
  func update(_ parameter: Tensor, gradient: Tensor, state: [Tensor], _ settings: UpdateSettings)
}

/// The numbers of one update of one parameter.
public struct UpdateSettings: Sendable {
  /// How often this parameter has been updated, this time included: from 1.
  public var step: Int
  /// The learning rate.
  public var learningRate: Double
  /// The weight decay.
  public var weightDecay: Double
  /// What the gradient is multiplied by: the clipping factor, and one over the number of samples it is a sum of.
  public var gradientScale: Float
}

/// Parameters that are treated alike.
public struct ParameterGroup: Sendable {
  /// Whether a parameter belongs here, by name and shape.
  public let contains: @Sendable (_ name: String, _ shape: [Int]) -> Bool
  /// What the learning rate is multiplied by.
  public let learningRateFactor: Double
  /// The weight decay.
  public let weightDecay: Double

  /// A group of the parameters for which `contains` holds; of all unless given.
  public init(
    learningRateFactor: Double = 1, weightDecay: Double = 0,
    where contains: @escaping @Sendable (_ name: String, _ shape: [Int]) -> Bool = { _, _ in true }
  ) {
    (self.learningRateFactor, self.weightDecay) = (learningRateFactor, weightDecay)
    self.contains = contains
  }

  /// Weight decay for matrices and tables; none for norms and biases.
  public static func decayingMatrices(_ weightDecay: Double) -> [ParameterGroup] {
    [ParameterGroup(weightDecay: weightDecay) { _, shape in shape.count > 1 }, ParameterGroup()]
  }
}

/// Applies an update rule to all parameters, group by group, and keeps its state.
///
/// A parameter without a gradient in a step is skipped: no decay, no momentum, and its steps are not counted.
public final class Optimizer {
  /// What is trained.
  public let parameters: ParameterSet
  private let rule: any UpdateRule
  private let groups: [ParameterGroup]
  private let groupIndices: [Int]
  private let states: [[Tensor]]
  /// How often each parameter has been updated.
  public private(set) var updateCounts: [Int]

  /// - Parameter groups: A parameter belongs to the first group that contains it; one must.
  public init(_ parameters: ParameterSet, rule: any UpdateRule, groups: [ParameterGroup] = [ParameterGroup()])
  {
    (self.parameters, self.rule, self.groups) = (parameters, rule, groups)
    groupIndices = zip(parameters.names, parameters.values).map { name, value in
      let index = groups.firstIndex { $0.contains(name, value.shape) }
      require(index != nil, "the parameter \(name) belongs to no group")
      return index ?? 0
    }
    states = parameters.values.map { value in rule.stateNames.map { _ in Tensor(zeros: value.shape) } }
    updateCounts = Array(repeating: 0, count: parameters.count)
  }

  /// Updates every parameter that has a gradient.
  ///
  /// - Parameters:
  ///   - gradients: One entry for each parameter.
  ///   - learningRate: Before the groups' factors.
  ///   - scale: What gradients are multiplied by.
  ///   - factors: What the learning rate of a parameter is multiplied by besides, by name; 1 where nothing is said.
  public func step(
    _ gradients: [Tensor?], learningRate: Double, scale: Double = 1, factors: [String: Double] = [:]
  ) {
    require(
      gradients.count == parameters.count, "\(gradients.count) gradients for \(parameters.count) parameters")
    for (index, gradient) in gradients.enumerated() {
      guard let gradient else { continue }
      let (parameter, group) = (parameters.values[index], groups[groupIndices[index]])
      require(
        gradient.shape == parameter.shape,
        "a gradient of shape \(gradient.shape) for \(parameters.names[index])")
      updateCounts[index] += 1
      rule.update(
        parameter, gradient: gradient, state: states[index],
        UpdateSettings(
          step: updateCounts[index],
          learningRate: learningRate * group.learningRateFactor * (factors[parameters.names[index]] ?? 1),
          weightDecay: group.weightDecay, gradientScale: Float(scale)))
    }
  }

  /// The state for a file: `optimizer.<state>.<parameter>` and `optimizer.updates`.
  ///
  /// - Throws: `StoredTensorError`.
  public func stored() throws -> [StoredTensor] {
    var tensors = [
      try StoredTensor(name: "optimizer.updates", shape: [updateCounts.count], integers: updateCounts)
    ]
    for (name, state) in zip(parameters.names, states) {
      for (stateName, tensor) in zip(rule.stateNames, state) {
        tensors.append(
          try StoredTensor(
            name: "optimizer.\(stateName).\(name)", shape: tensor.shape, floats: tensor.hostValues()))
      }
    }
    return tensors
  }

  /// Takes over the state of a file.
  ///
  /// - Throws: `SafetensorsError.missingTensor`, `TrainingStateError`.
  public func restore(from file: SafetensorsFile) throws {
    let counts = try file.integers("optimizer.updates", count: parameters.count)
    guard counts.allSatisfy({ $0 >= 0 }) else {
      throw TrainingStateError.impossibleValue(
        path: file.path, tensor: "optimizer.updates", reason: "a negative number of updates")
    }
    for (name, state) in zip(parameters.names, states) {
      for (stateName, tensor) in zip(rule.stateNames, state) {
        Kernels.overwrite(
          tensor, with: try file.floats("optimizer.\(stateName).\(name)", shape: tensor.shape))
      }
    }
    updateCounts = counts
  }
}
