extension LinearWeight {
  /// x Wᵀ + b + s · x Aᵀ Bᵀ for a frozen weight, as one operation of a tape.
  ///
  ///     dB = s Gᵀ (x Aᵀ),   H = s G B,   dA = Hᵀ x,   dx = G W + H A
  ///
  /// The low-rank parts are added where the large products stand, so that no tensor of their size is made for them.
  ///
  /// Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, arXiv:2106.09685, equation 3.
  ///
  /// - Parameters:
  ///   - x: `[rows, inputSize]`, as one product of all rows.
  ///   - bias: b, `[outputSize]`; not tracked, nor is the weight.
  ///   - down: A, `[rank, inputSize]`.
  ///   - up: B, `[outputSize, rank]`.
  ///   - scale: s.
  /// - Returns: `[rows, outputSize]`.
  public func forward(_ x: Tensor, bias: Tensor?, lowRank down: Tensor, _ up: Tensor, scale: Float) -> Tensor
  {
    let rank = down.shape[0]
    require(
      down.shape == [rank, inputSize] && up.shape == [outputSize, rank],
      "A \(down.shape) and B \(up.shape) do not fit a \(outputSize) x \(inputSize) weight")
    require(!isTracked && bias?.isTracked != true, "a frozen weight that a tape follows")
    let (input, a, b, weight) = (x.detached, down.detached, up.detached, self)
    let middle = scale * input.matmul(a, transposingOther: true)
    var output = forward(input, bias: bias)
    Kernels.addProduct(middle, b, transposingOther: true, to: &output)
    return output.recorded(from: [x, down, up]) { gradient, needs in
      let inner = needs[0] || needs[1] ? scale * gradient.matmul(b) : nil
      var inputGradient: Tensor?
      if needs[0], let inner {
        var sum = weight.backward(gradient)
        Kernels.addProduct(inner, a, to: &sum)
        inputGradient = sum
      }
      return [
        inputGradient, needs[1] ? inner?.matmul(input, transposingSelf: true) : nil,
        needs[2] ? gradient.matmul(middle, transposingSelf: true) : nil,
      ]
    }
  }
}
