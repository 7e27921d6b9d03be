import RunKit
public import TensorCore

/// ResNet18 without its classifier: a spectrogram, pictures, frames of a video or flow to a vector of 512.
///
///     x = max pool₃ₓ₃,₂(relu(bn1(conv1₇ₓ₇,₂ x)))
///     x = relu(bn2(conv2 relu(bn1(conv1 x))) + shortcut(x))      eight blocks, two for each width 64, 128, 256, 512
///     h = mean of x over places and frames
///
/// The first block of each width beyond the first takes every second row and column; its shortcut is a 1x1 convolution with
/// a batch norm, all others are x itself. A network is a value without parameters: these are given by name with every call,
/// so that the same code serves inference and training. Names are those of torchvision; the layout of convolution weights
/// is `[outputs, rows, columns, channels]`, which reading and writing of files translates.
///
/// Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385, section 3.3 and table 1;
/// the mean over frames: Peng et al., "Balanced Multimodal Learning via On-the-fly Gradient Modulation", CVPR 2022,
/// arXiv:2203.15332, section 4.1.
public struct ResNet18: Sendable, Equatable {
  /// A parameter before it has values.
  public struct Parameter: Sendable, Equatable {
    /// As in torchvision, such as `layer1.0.conv1.weight`.
    public let name: String
    /// That of a convolution is `[outputs, rows, columns, channels]`.
    public let shape: [Int]
  }

  /// What the batch norms remember, by the name of the norm, such as `layer2.0.downsample.1`.
  public struct State: Sendable, Equatable {
    /// The buffers of every batch norm.
    public var buffers: [String: BatchNorm.Buffers]
    /// Training steps so far, `num_batches_tracked` of every norm.
    public var stepCount = 0

    /// What a new network starts with: means 0 and variances 1.
    public init() {
      buffers = Dictionary(
        uniqueKeysWithValues: ResNet18.norms.map { ($0.name, BatchNorm.Buffers(channels: $0.channels)) })
    }
  }

  /// Channels of an image: 1 for a spectrogram, 3 for RGB, two for each pair of frames for flow.
  public let channels: Int
  /// How 3x3 convolutions are computed.
  public let precision: Convolution.Precision
  /// d, the size of a feature vector.
  public static let featureSize = 512
  private static let norm = BatchNorm()

  /// - Parameters:
  ///   - channels: At least 1.
  ///   - precision: How 3x3 convolutions are computed.
  public init(channels: Int, precision: Convolution.Precision = .exact) {
    require(channels > 0, "a ResNet18 of \(channels) channels")
    (self.channels, self.precision) = (channels, precision)
  }

  // MARK: - Layers

  /// A residual block.
  private struct Block {
    let name: String
    let inputs: Int
    let outputs: Int
    let stride: Int
    var hasDownsample: Bool { stride > 1 || inputs != outputs }
  }

  private static let blocks: [Block] = [64, 128, 256, 512].enumerated().flatMap { stage, width in
    [
      Block(
        name: "layer\(stage + 1).0", inputs: stage == 0 ? 64 : width / 2, outputs: width,
        stride: stage == 0 ? 1 : 2),
      Block(name: "layer\(stage + 1).1", inputs: width, outputs: width, stride: 1),
    ]
  }

  /// The batch norms in the order of torchvision.
  static let norms: [(name: String, channels: Int)] =
    [("bn1", 64)]
    + blocks.flatMap { block in
      ["bn1", "bn2"].map { (block.name + "." + $0, block.outputs) }
        + (block.hasDownsample ? [(block.name + ".downsample.1", block.outputs)] : [])
    }

  /// Every parameter in the order of torchvision.
  public var parameters: [Parameter] {
    var parameters: [Parameter] = []
    func convolution(_ name: String, _ outputs: Int, _ size: Int, _ inputs: Int) {
      parameters.append(Parameter(name: name + ".weight", shape: [outputs, size, size, inputs]))
    }
    func norm(_ name: String, _ channels: Int) {
      parameters.append(Parameter(name: name + ".weight", shape: [channels]))
      parameters.append(Parameter(name: name + ".bias", shape: [channels]))
    }
    convolution("conv1", 64, 7, channels)
    norm("bn1", 64)
    for block in Self.blocks {
      convolution(block.name + ".conv1", block.outputs, 3, block.inputs)
      norm(block.name + ".bn1", block.outputs)
      convolution(block.name + ".conv2", block.outputs, 3, block.outputs)
      norm(block.name + ".bn2", block.outputs)
      guard block.hasDownsample else { continue }
      convolution(block.name + ".downsample.0", block.outputs, 1, block.inputs)
      norm(block.name + ".downsample.1", block.outputs)
    }
    return parameters
  }

  /// Values to train from: convolutions from a normal distribution of variance 2 / (outputs · rows · columns), weights of
  /// norms from one around 1 of standard deviation 0.02, biases 0. Each parameter has a stream of its own.
  ///
  /// Source: He et al., "Delving Deep into Rectifiers", ICCV 2015, arXiv:1502.01852, equation 14; the weights of norms as in
  /// the encoders of BalanceBenchmark, arXiv:2502.10816, where torchvision has 1.
  public func initialParameters(seed: Int) -> [(name: String, value: Tensor)] {
    parameters.map { parameter in
      let shape = parameter.shape
      var stream = RandomStream(seed: seed, purpose: "initial " + parameter.name)
      let (mean, deviation): (Double, Double)
      switch (shape.count, parameter.name.hasSuffix(".bias")) {
      case (4, _): (mean, deviation) = (0, (2 / Double(shape[0] * shape[1] * shape[2])).squareRoot())
      case (_, false): (mean, deviation) = (1, 0.02)
      case (_, true): return (parameter.name, Tensor(zeros: shape))
      }
      let values = (0..<shape.reduce(1, *)).map { _ in Float(mean + deviation * stream.normal()) }
      return (parameter.name, Tensor(values, shape: shape))
    }
  }

  // MARK: - Passes

  /// The features of images by the statistics of this batch; the buffers of every norm move towards them.
  ///
  /// - Parameters:
  ///   - images: `[samples, rows, columns, channels]`, or `[samples, frames, rows, columns, channels]`.
  ///   - state: Replaced by that after this step.
  ///   - parameter: Gives a parameter by its name.
  /// - Returns: `[samples, 512]`.
  public func train(_ images: Tensor, state: inout State, _ parameter: (String) -> Tensor) -> Tensor {
    var next = state
    let output = features(images, parameter) { name, x, weight, bias, added, isRectified in
      guard let buffers = next.buffers[name] else { preconditionFailure("every norm has buffers: \(name)") }
      let (y, updated) = Self.norm.train(
        x, weight: weight, bias: bias, buffers: buffers, adding: added, isRectified: isRectified)
      next.buffers[name] = updated
      return y
    }
    next.stepCount += 1
    state = next
    return output
  }

  /// The features of images by the buffers.
  ///
  /// - Parameters:
  ///   - images: `[samples, rows, columns, channels]`, or `[samples, frames, rows, columns, channels]`.
  ///   - parameter: Gives a parameter by its name.
  /// - Returns: `[samples, 512]`.
  public func evaluate(_ images: Tensor, state: State, _ parameter: (String) -> Tensor) -> Tensor {
    features(images, parameter) { name, x, weight, bias, added, isRectified in
      guard let buffers = state.buffers[name] else {
        preconditionFailure("every norm has buffers: \(name)")
      }
      return Self.norm.evaluate(
        x, weight: weight, bias: bias, buffers: buffers, adding: added, isRectified: isRectified)
    }
  }

  /// A batch norm: name, x, weight, bias, what is added, and whether negative results become 0.
  private typealias Norm = (String, Tensor, Tensor, Tensor, Tensor?, Bool) -> Tensor

  private func features(_ images: Tensor, _ parameter: (String) -> Tensor, _ norm: Norm) -> Tensor {
    let shape = images.shape
    require(
      4...5 ~= shape.count && shape.last == channels,
      "a ResNet18 of \(channels) channels was given images \(shape)")
    let samples = shape[0]
    func convolved(_ x: Tensor, _ name: String, _ size: Int, _ stride: Int) -> Tensor {
      let window = ImageWindow(
        size: (size, size), stride: (stride, stride), padding: (size / 2, size / 2))
      return Convolution(window, precision: precision)(x, weight: parameter(name + ".weight"))
    }
    func normed(_ x: Tensor, _ name: String, adding: Tensor? = nil, isRectified: Bool) -> Tensor {
      norm(name, x, parameter(name + ".weight"), parameter(name + ".bias"), adding, isRectified)
    }
    var x = images.reshaped(to: [shape.dropLast(3).reduce(1, *)] + shape.suffix(3))
    x = normed(convolved(x, "conv1", 7, 2), "bn1", isRectified: true)
    x = x.maxPooled(ImageWindow(size: (3, 3), stride: (2, 2), padding: (1, 1)))
    for block in Self.blocks {
      let name = block.name
      let inner = normed(convolved(x, name + ".conv1", 3, block.stride), name + ".bn1", isRectified: true)
      let shortcut =
        block.hasDownsample
        ? normed(
          convolved(x, name + ".downsample.0", 1, block.stride), name + ".downsample.1",
          isRectified: false) : x
      x = normed(
        convolved(inner, name + ".conv2", 3, 1), name + ".bn2", adding: shortcut, isRectified: true)
    }
    // Frames of a sample lie one below the other: their mean is that over more rows.
    let rows = x.shape[0] / max(samples, 1) * x.shape[1]
    return x.reshaped(to: [samples, rows, x.shape[2], Self.featureSize]).globalAveragePooled()
  }
}
