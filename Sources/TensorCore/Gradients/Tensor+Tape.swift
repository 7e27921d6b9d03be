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
