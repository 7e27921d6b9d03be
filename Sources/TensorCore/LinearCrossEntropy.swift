extension LinearWeight {
  /// Elements of logits that exist at a time.
  private static let logitElements = 1 << 24

  /// log Σ exp zᵢ − zᵢ[label] for logits z = x Wᵀ of a frozen weight, without ever holding all logits.
  ///
  ///     ∂/∂xᵢ = (softmax(zᵢ) − e[label]) W
  ///
  /// Logits are made for some rows at a time and lead to the losses and, where a tape follows x, to the gradients of x at
  /// once; these wait, as small as x, until they are asked for.
  ///
  /// Source: Hsu et al., "Liger Kernel: Efficient Triton Kernels for LLM Training", 2024, arXiv:2410.10989, section 3.2.
  ///
  /// - Parameters:
  ///   - x: `[rows, inputSize]`.
  ///   - labels: One a row; a negative one gives 0 and no gradient.
  /// - Returns: `[rows]`.
  public func crossEntropy(of x: Tensor, labels: [Int]) -> Tensor {
    crossEntropy(of: x, labels: labels, rowsAtATime: max(64, Self.logitElements / max(outputSize, 1)))
  }

  func crossEntropy(of x: Tensor, labels: [Int], rowsAtATime: Int) -> Tensor {
    require(
      x.rank == 2 && x.columns == inputSize && labels.count == x.rows && !isTracked,
      "\(labels.count) labels for \(x.shape) that enters a frozen \(outputSize) x \(inputSize) weight")
    let (input, weight) = (x.detached, self)
    var (losses, gradients): ([Tensor], [Tensor]) = ([], [])
    for piece in Kernels.evenRanges(x.rows, limit: rowsAtATime) {
      let own = Array(labels[piece])
      let logits = weight.forward(input.slice(piece))
      let tape = Tape()
      let leaf = x.isTracked ? tape.leaf(logits) : logits
      let loss = leaf.crossEntropy(labels: own)
      losses.append(loss.detached)
      guard x.isTracked else { continue }
      let ones = Tensor(repeating: 1, shape: loss.shape)
      if let slopes = tape.gradients(of: loss, for: [leaf], seed: ones, retaining: false)[0] {
        gradients.append(weight.backward(slopes))
      }
    }
    let output = Tensor.concatenated(losses)
    if !x.isTracked { return output }
    let unit = Tensor.concatenated(gradients)
    return output.recorded(from: [x]) { gradient, _ in
      [unit * gradient.reshaped(to: [gradient.count, 1])]
    }
  }
}
