extension Tensor {
  /// Whether a tape follows this tensor.
  public var isTracked: Bool { node != nil }
  /// The tape that tracks this tensor; nil for none.
  public var tape: Tape? { node?.tape }

  /// The same elements, followed by no tape.
  public var detached: Tensor {
    var tensor = self
    tensor.node = nil
    return tensor
  }

  func tracked(by node: Tape.Node) -> Tensor {
    var tensor = self
    tensor.node = node
    return tensor
  }

  /// An operation whose gradients are written by hand instead of following from smaller operations.
  ///
  /// - Parameters:
  ///   - inputs: What it depends on.
  ///   - forward: Computes the result from the inputs, here followed by no tape. Its second value gets the gradient of the
  ///     result and for each input whether its gradient is wanted; it gives one of the input's shape where it is, nil
  ///     elsewhere. It is called when gradients are asked for, and must hold no tracked tensors.
  /// - Returns: The result, followed by the tape of the inputs if there is one.
  public static func operation(
    on inputs: [Tensor],
    _ forward: (_ inputs: [Tensor]) -> (
      output: Tensor, gradients: @Sendable (_ gradient: Tensor, _ needs: [Bool]) -> [Tensor?]
    )
  ) -> Tensor {
    let (output, gradients) = forward(inputs.map(\.detached))
    return output.detached.recorded(from: inputs, backward: gradients)
  }

  /// The result of an operation, noted on the tape of its inputs if one of them is tracked.
  ///
  /// - Parameters:
  ///   - inputs: What the operation depends on; all tracked ones belong to the same tape.
  ///   - backward: Gives a gradient of its input's shape for every input whose flag is set, nil for one it has no
  ///     influence on. It must capture detached tensors only: the tape would keep itself alive.
  func recorded(from inputs: [Tensor], backward: @escaping Tape.Backward) -> Tensor {
    guard let tape = inputs.lazy.compactMap(\.node).first?.tape else { return self }
    require(
      inputs.allSatisfy { $0.node == nil || $0.node?.tape === tape }, "an operation on tensors of two tapes")
    let indices = inputs.map { Int32($0.node?.index ?? -1) }
    guard let node = tape.append(inputs: indices, backward) else { return self }
    return tracked(by: node)
  }
}
