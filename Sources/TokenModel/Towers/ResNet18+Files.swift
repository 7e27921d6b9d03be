public import TensorCore

extension ResNet18 {
  /// Parameters and buffers of a trained network.
  public struct Weights: Sendable {
    /// In the order of `parameters`.
    public let parameters: [(name: String, value: Tensor)]
    /// What the batch norms remember.
    public let state: State
  }

  /// What becomes of the first convolution where a file has another number of channels than the network.
  public enum FirstConvolution: Sendable {
    /// It must fit.
    case asStored
    /// Its weights are summed over channels and spread evenly, so that an image of equal channels gets the same numbers.
    ///
    /// Source: timm, `adapt_input_conv`, which does so for one channel.
    case averaged
  }

  /// Reads a ResNet18 of torchvision or timm, whose names are the same, from a safetensors file.
  ///
  /// The classifier `fc` is left out; any other tensor that a ResNet18 does not have is refused, since the file holds another
  /// network then.
  ///
  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public func weights(
    in file: SafetensorsFile, firstConvolution: FirstConvolution = .asStored
  ) throws -> Weights {
    var known: Set<String> = ["fc.weight", "fc.bias"]
    func floats(_ name: String, _ shape: [Int]) throws -> [Float] {
      known.insert(name)
      guard let stored = file[name] else {
        throw ConfigurationError.missingTensor(path: file.path, tensor: name)
      }
      guard stored.shape == shape else {
        throw ConfigurationError.wrongShape(
          path: file.path, tensor: name, found: stored.shape, expected: shape)
      }
      return try stored.floats()
    }
    let tensors = try parameters.map { parameter -> (name: String, value: Tensor) in
      let shape = parameter.shape
      guard shape.count == 4 else {
        return (parameter.name, Tensor(try floats(parameter.name, shape), shape: shape))
      }
      let (outputs, taps, channels) = (shape[0], shape[1] * shape[2], shape[3])
      var stored = channels
      if parameter.name == "conv1.weight", firstConvolution == .averaged, let file = file[parameter.name],
        file.shape.count == 4, 1...4096 ~= file.shape[1]
      {
        stored = file.shape[1]
      }
      let values = try floats(parameter.name, [outputs, stored, shape[1], shape[2]])
      var ordered = Self.channelsLast(values, outputs: outputs, channels: stored, taps: taps)
      if stored != channels { ordered = Self.spread(ordered, from: stored, over: channels) }
      return (parameter.name, Tensor(ordered, shape: shape))
    }
    var state = State()
    for (name, channels) in Self.norms {
      state.buffers[name] = BatchNorm.Buffers(
        mean: Tensor(try floats(name + ".running_mean", [channels]), shape: [channels]),
        variance: Tensor(try floats(name + ".running_var", [channels]), shape: [channels]))
      let counter = name + ".num_batches_tracked"
      known.insert(counter)
      state.stepCount = max(state.stepCount, try file[counter]?.integers().first ?? 0)
    }
    if let other = file.names.filter({ !known.contains($0) }).min() {
      throw ConfigurationError.unsupportedValue(
        path: file.path, key: other, found: "a tensor that ResNet18 does not have",
        supported: "the tensors of a ResNet18 of torchvision or timm")
    }
    return Weights(parameters: tensors, state: state)
  }

  /// The tensors of a file that torchvision reads, without the classifier.
  ///
  /// - Parameters:
  ///   - state: What the batch norms remember.
  ///   - parameter: Gives a parameter by its name.
  /// - Throws: `StoredTensorError`.
  public func stored(state: State, _ parameter: (String) -> Tensor) throws -> [StoredTensor] {
    var tensors: [StoredTensor] = []
    for entry in parameters {
      let (values, shape) = (parameter(entry.name).hostValues(), entry.shape)
      guard shape.count == 4 else {
        tensors.append(try StoredTensor(name: entry.name, shape: shape, floats: values))
        continue
      }
      // The other way round, taps take the place of channels.
      let ordered = Self.channelsLast(
        values, outputs: shape[0], channels: shape[1] * shape[2], taps: shape[3])
      tensors.append(
        try StoredTensor(
          name: entry.name, shape: [shape[0], shape[3], shape[1], shape[2]], floats: ordered))
    }
    for (name, channels) in Self.norms {
      guard let buffers = state.buffers[name] else { preconditionFailure("every norm has buffers: \(name)") }
      for (key, value) in [("running_mean", buffers.mean), ("running_var", buffers.variance)] {
        tensors.append(
          try StoredTensor(name: "\(name).\(key)", shape: [channels], floats: value.hostValues()))
      }
      tensors.append(
        try StoredTensor(name: name + ".num_batches_tracked", shape: [], integers: [state.stepCount]))
    }
    return tensors
  }

  /// `[outputs, channels, taps]` as `[outputs, taps, channels]`.
  private static func channelsLast(_ values: [Float], outputs: Int, channels: Int, taps: Int) -> [Float] {
    var ordered = [Float](repeating: 0, count: values.count)
    for output in 0..<outputs {
      let start = output * channels * taps
      for channel in 0..<channels {
        for tap in 0..<taps {
          ordered[start + tap * channels + channel] = values[start + channel * taps + tap]
        }
      }
    }
    return ordered
  }

  /// Groups of `stored` weights as groups of `channels`, each the sum of the old ones over the new count.
  private static func spread(_ values: [Float], from stored: Int, over channels: Int) -> [Float] {
    stride(from: 0, to: values.count, by: stored).flatMap { start in
      let sum = values[start..<start + stored].reduce(0, +)
      return [Float](repeating: sum / Float(channels), count: channels)
    }
  }
}
