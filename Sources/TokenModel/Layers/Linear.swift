public import TensorCore

/// A linear layer of any kind: plain, or with an adapter that may look at each row's modality.
public protocol LinearLayer: Sendable {
  /// Rows of the weight.
  var outputSize: Int { get }
  /// Columns of the weight.
  var inputSize: Int { get }
  /// `[rows, inputSize]` to `[rows, outputSize]`.
  ///
  /// - Parameter context: The context of exactly these rows.
  func callAsFunction(_ x: Tensor, _ context: TokenContext) -> Tensor
  /// Whether the output of a row depends on other rows of its sequence, so that rows must not be given in pieces.
  var mixesRows: Bool { get }
  /// Gives mapped pages back to the system.
  func releasePages()
}

extension LinearLayer {
  /// Every row by itself, as in most layers.
  public var mixesRows: Bool { false }
}

/// y = x Wᵀ + b.
public struct Linear: LinearLayer {
  /// W, `[outputSize, inputSize]`.
  public let weight: LinearWeight
  /// b, `[outputSize]`.
  public let bias: Tensor?

  /// A layer of a weight and, if given, a bias of its output size.
  public init(weight: LinearWeight, bias: Tensor? = nil) {
    require(bias.map { $0.count == weight.outputSize } ?? true, "a bias of another size than the weight")
    (self.weight, self.bias) = (weight, bias)
  }

  /// Rows of the weight.
  public var outputSize: Int { weight.outputSize }
  /// Columns of the weight.
  public var inputSize: Int { weight.inputSize }

  /// x Wᵀ + b for rows of any number of sequences.
  public func callAsFunction(_ x: Tensor, _ context: TokenContext) -> Tensor {
    weight.forward(x, segments: context.joinsSequences ? nil : context.segments, bias: bias)
  }

  /// Gives mapped pages back to the system.
  public func releasePages() { weight.releasePages() }
}
