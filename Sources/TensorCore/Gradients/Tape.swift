import Synchronization

/// A record of operations from which gradients are computed by reverse accumulation.
///
///     let tape = Tape()
///     let w = tape.leaf(weight)
///     let loss = x.matmul(w).crossEntropy(labels: labels).mean()
///     let gradients = tape.gradients(of: loss, for: [w])
///
/// A tensor made by `leaf` is tracked, and so is every tensor computed from it: operations record themselves. Nothing
/// else changes, so the same code serves inference and training. The record is a flat array whose entries name their
/// inputs by index; it can be read any number of times, and each time gives gradients in buffers of their own.
///
/// A tape is used by one thread of control; kernels may use many.
///
/// Source: Griewank and Walther, "Evaluating Derivatives", 2nd edition, 2008, chapter 3.
public final class Tape: Sendable {
  /// Computes the gradients of an operation's inputs from that of its output; the flags say which are wanted.
  typealias Backward = @Sendable (_ gradient: Tensor, _ needs: [Bool]) -> [Tensor?]

  private enum Operation: Sendable {
    /// A leaf, or an entry that was given back.
    case none
    case backward(Backward)
    /// Operations that are not kept but run again for their gradients.
    case checkpoint(@Sendable () -> Tensor)
  }

  private struct Entry: Sendable {
    var inputs: [Int32] = []
    var operation = Operation.none
  }

  private struct State {
    var entries: [Entry] = []
    /// Entries that the operations of a checkpoint depend on, while it runs without being recorded.
    var dependencies: Set<Int32>?
  }

  private let state = Mutex(State())

  /// An empty tape.
  public init() {}

  /// The number of entries: leaves, operations and checkpoints.
  public var count: Int { state.withLock { $0.entries.count } }

  /// The same elements, tracked: gradients can be asked for it.
  public func leaf(_ tensor: Tensor) -> Tensor {
    let index = state.withLock { state in
      state.entries.append(Entry())
      return state.entries.count - 1
    }
    return tensor.tracked(by: Node(tape: self, index: index))
  }

  /// Where a tracked tensor stands.
  struct Node: Sendable {
    let tape: Tape
    let index: Int
  }

  /// Notes an operation; nil while a checkpoint runs, whose operations are not kept.
  func append(inputs: [Int32], _ backward: @escaping Backward) -> Node? {
    append(inputs: inputs, operation: .backward(backward))
  }

  private func append(inputs: [Int32], operation: Operation) -> Node? {
    let index = state.withLock { state -> Int? in
      if state.dependencies != nil {
        state.dependencies?.formUnion(inputs.lazy.filter { $0 >= 0 })
        return nil
      }
      state.entries.append(Entry(inputs: inputs, operation: operation))
      return state.entries.count - 1
    }
    return index.map { Node(tape: self, index: $0) }
  }

  /// Runs `body` without keeping what its operations need for their gradients; it is run again when they are asked for.
  ///
  /// Memory is that of the output alone until then. The gradients have the same bits as without a checkpoint.
  ///
  /// - Parameters:
  ///   - first: What runs now, if not `body`: the same, with side effects that must happen once.
  ///   - body: It must do the same each time it is called: random numbers come from keyed streams.
  public func checkpoint(
    first: (() -> Tensor)? = nil, _ body: @escaping @Sendable () -> Tensor
  ) -> Tensor {
    let first = first ?? body
    let isOutermost = state.withLock { state in
      defer { state.dependencies = state.dependencies ?? [] }
      return state.dependencies == nil
    }
    // Within another checkpoint, which will run all of it again, this one is recorded then.
    guard isOutermost else { return first() }
    let output = first()
    let dependencies = state.withLock { state in
      defer { state.dependencies = nil }
      return state.dependencies ?? []
    }
    guard let node = append(inputs: dependencies.sorted(), operation: .checkpoint(body)) else {
      return output
    }
    return output.tracked(by: node)
  }

  /// The gradients of a scalar, or of a sum weighted by `seed`, with respect to tracked tensors.
  ///
  /// - Parameters:
  ///   - output: One element, unless a seed is given.
  ///   - seed: The gradient of what is differentiated with respect to `output`, of its shape; 1 unless given.
  ///   - targets: Leaves or results of operations of this tape.
  ///   - retaining: Whether the tape can be read again. If not, its entries are given back as they have been used.
  /// - Returns: For each target a tensor of its shape, or nil where `output` does not depend on it.
  public func gradients(
    of output: Tensor, for targets: [Tensor], seed: Tensor? = nil, retaining: Bool = true
  ) -> [Tensor?] {
    require(
      seed != nil || output.count == 1, "the gradient of \(output.shape), which is not a scalar, needs a seed"
    )
    require(
      seed.map { $0.shape == output.shape } ?? true,
      "a seed of another shape than the output \(output.shape)")
    require(
      targets.allSatisfy { $0.node?.tape === self },
      "a gradient was asked for a tensor of another tape or of none")
    guard let node = output.node else { return targets.map { _ in nil } }
    require(node.tape === self, "the output belongs to another tape")
    var pass = BackwardPass(targets: targets.compactMap { $0.node?.index }, retaining: retaining)
    pass.gradients = Array(repeating: nil, count: node.index + 1)
    pass.gradients[node.index] = seed?.detached ?? Tensor(repeating: 1, shape: output.shape)
    pass.markNeeds(0..<node.index + 1) { inputs(of: $0) }
    run(&pass, over: 0..<node.index + 1)
    if !retaining { state.withLock { $0.entries = [] } }
    return targets.map { target in target.node.flatMap { pass.results[$0.index] } }
  }

  private func inputs(of index: Int) -> [Int32] { state.withLock { $0.entries[index].inputs } }

  /// Goes through entries from the last to the first and hands gradients on to their inputs.
  private func run(_ pass: inout BackwardPass, over range: Range<Int>) {
    for index in range.reversed() {
      guard let gradient = pass.takeGradient(index) else { continue }
      let entry = state.withLock { state in
        let entry = state.entries[index]
        if !pass.retaining { state.entries[index].operation = .none }
        return entry
      }
      switch entry.operation {
      case .none: break
      case .backward(let backward):
        let needs = entry.inputs.map { $0 >= 0 && pass.needs[Int($0)] }
        guard needs.contains(true) else { continue }
        let gradients = backward(gradient, needs)
        require(
          gradients.count == needs.count,
          "an operation gave \(gradients.count) gradients for \(needs.count) inputs")
        for (input, part) in zip(entry.inputs, gradients) where input >= 0 && pass.needs[Int(input)] {
          if let part { pass.add(part, to: Int(input)) }
        }
      case .checkpoint(let body):
        guard entry.inputs.contains(where: { pass.needs[Int($0)] }) else { continue }
        runAgain(body, gradient, &pass)
      }
    }
  }

  /// Records the operations of a checkpoint at the end of the tape, goes through them, and removes them again.
  private func runAgain(_ body: @Sendable () -> Tensor, _ gradient: Tensor, _ pass: inout BackwardPass) {
    let start = count
    let output = body()
    if let node = output.node, node.index >= start {
      let segment = start..<node.index + 1
      pass.extend(to: segment.upperBound)
      pass.markNeeds(segment) { inputs(of: $0) }
      pass.gradients[node.index] = gradient
      run(&pass, over: segment)
      pass.truncate(to: start)
    } else if let node = output.node {
      pass.add(gradient, to: node.index)
    }
    state.withLock { $0.entries.removeSubrange(start...) }
  }
}

/// The gradients of one walk over a tape.
private struct BackwardPass {
  let retaining: Bool
  let targets: Set<Int>
  /// What has been added up so far for each entry; taken when the walk reaches it.
  var gradients: [Tensor?] = []
  /// Whether a target depends on an entry, so that its gradient is worth computing.
  var needs: [Bool] = []
  /// The gradients of targets that the walk has passed.
  var results: [Int: Tensor] = [:]

  init(targets: [Int], retaining: Bool) {
    (self.targets, self.retaining) = (Set(targets), retaining)
  }

  /// Extends the marks over more entries, in their order.
  mutating func markNeeds(_ range: Range<Int>, inputs: (Int) -> [Int32]) {
    needs.reserveCapacity(range.upperBound)
    while needs.count < range.lowerBound { needs.append(false) }
    for index in range {
      needs.append(targets.contains(index) || inputs(index).contains { $0 >= 0 && needs[Int($0)] })
    }
  }

  mutating func takeGradient(_ index: Int) -> Tensor? {
    guard let gradient = gradients[index].take() else { return nil }
    if targets.contains(index) { results[index] = gradient }
    return gradient
  }

  mutating func add(_ part: Tensor, to index: Int) {
    guard gradients[index] != nil else {
      gradients[index] = part
      return
    }
    gradients[index]?.accumulate(part)
  }

  mutating func extend(to count: Int) {
    while gradients.count < count { gradients.append(nil) }
  }

  mutating func truncate(to count: Int) {
    gradients.removeSubrange(min(count, gradients.count)...)
    needs.removeSubrange(min(count, needs.count)...)
  }
}
