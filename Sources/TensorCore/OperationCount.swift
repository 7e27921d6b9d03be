import Synchronization

/// Floating-point operations of matrix products, convolutions and attention since the process began, a multiplication and
/// an addition counting as two; a fast convolution counts as the exact one. Softmax, norms and other work that grows with the rows
/// alone is left out, as is the custom.
public enum OperationCount {
  private static let count = Atomic<Int>(0)

  /// The count so far, of all threads.
  public static var total: Int { count.load(ordering: .relaxed) }

  static func add(_ operations: Int) { count.add(operations, ordering: .relaxed) }
}
