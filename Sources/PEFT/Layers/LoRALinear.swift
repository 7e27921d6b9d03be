public import TensorCore
public import TokenModel

/// A frozen linear layer plus a trainable low-rank update.
///
///     y = base(x) + s · dropout(x) Aᵀ Bᵀ,   s = α / r, or α / √r with rsLoRA
///
/// - `x`: `[rows, inputSize]`; result: `[rows, outputSize]`.
/// - `down` (A): `[rank, inputSize]`, drawn as PEFT does.
/// - `up` (B): `[outputSize, rank]`, zeros at first, so that a fresh adapter changes nothing.
///
/// Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, arXiv:2106.09685, equation 3 and
/// section 4.1; Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023, arXiv:2312.03732,
/// for α / √r.
public struct LoRALinear: Adapter {
  /// The frozen layer.
  public let base: any LinearLayer
  /// A, the projection down to the rank.
  public let down: Tensor
  /// B, the projection back up.
  public let up: Tensor
  /// s.
  public let scale: Float
  /// Dropout of the input, in training only.
  public var dropout: AdapterDropout?
  /// A once for each modality, for a training that wants the gradient of each; see `GradientSplit`.
  var parts: [(modality: Modality, down: Tensor)] = []

  /// - Parameters:
  ///   - base: The layer to adapt; shared, not copied.
  ///   - down: `[rank, inputSize]`.
  ///   - up: `[outputSize, rank]`.
  public init(_ base: any LinearLayer, down: Tensor, up: Tensor, scale: Float) {
    require(
      down.rank == 2 && up.shape == [base.outputSize, down.shape[0]] && down.shape[1] == base.inputSize,
      "A \(down.shape) and B \(up.shape) do not fit a \(base.outputSize) x \(base.inputSize) weight")
    (self.base, self.down, self.up, self.scale) = (base, down, up, scale)
  }

  /// The same map for every row.
  public var isMergeable: Bool { true }
  /// As the frozen layer.
  public var mixesRows: Bool { base.mixesRows }

  /// base(x) + s · x Aᵀ Bᵀ for rows of any number of sequences.
  public func callAsFunction(_ x: Tensor, _ context: TokenContext) -> Tensor {
    if let linear = base as? Linear, isPlain(linear, context) {
      return linear.weight.forward(x, bias: linear.bias, lowRank: down, up, scale: scale)
    }
    let segments = context.joinsSequences ? nil : context.segments
    let input = dropout.map { $0(x) } ?? x
    let hidden =
      parts.isEmpty
      ? LinearWeight(down).forward(input, segments: segments)
      : ModalityRows(context, parts.map(\.modality)).product(input, parts.map(\.down))
    // The factor goes to the few columns in the middle.
    return base(x, context) + LinearWeight(up).forward(context.adapted(scale * hidden), segments: segments)
  }

  /// Whether one operation is all there is: in training, where nothing is watched or dropped.
  private func isPlain(_ linear: Linear, _ context: TokenContext) -> Bool {
    context.joinsSequences && parts.isEmpty && dropout == nil && context.adaptedModalities == nil
      && !linear.weight.isTracked && linear.bias?.isTracked != true
  }

  /// s · B A: what merging adds to the weight, `[outputSize, inputSize]`.
  public var update: Tensor { up.matmul(scale * down) }
}
