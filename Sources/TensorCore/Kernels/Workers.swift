import CKernels
import COpenBLAS
import Dispatch
import Glibc
import Synchronization

/// The only place where work is spread over threads.
///
/// A kernel cuts its output into chunks that depend on shapes alone; any number of threads takes them in any order,
/// and since no two chunks write the same element the bits are the same for every `--threads`.
public enum Workers {
  private static let configuredCount = Atomic<Int>(0)

  /// How many threads kernels use; at least 1. Set once before computing; the number of cores at first.
  public static var threadCount: Int {
    get {
      let count = configuredCount.load(ordering: .relaxed)
      return count > 0 ? count : max(1, processorCount)
    }
    set { configuredCount.store(max(1, newValue), ordering: .relaxed) }
  }

  private static let processorCount = Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))

  // OpenBLAS must not start threads inside our own parallel region, and its bits depend on its thread count.
  private static let preparedBLAS: Void = { openblas_set_num_threads(1) }()

  /// Work that takes about as long as waking a thread, in multiplications.
  private static let worthwhileOperations = 1 << 18

  /// Runs `body` once for each chunk index in `0..<count`, on up to `threadCount` threads.
  ///
  /// - Parameter operations: How much work there is in all, in multiplications; little work stays on this thread.
  static func forEachChunk(_ count: Int, operations: Int = .max, _ body: @Sendable (Int) -> Void) {
    _ = preparedBLAS
    let workers = operations < worthwhileOperations ? 1 : min(threadCount, count)
    guard workers > 1 else {
      ck_flush_denormals()
      for index in 0..<count { body(index) }
      return
    }
    let next = Atomic<Int>(0)
    DispatchQueue.concurrentPerform(iterations: workers) { _ in
      ck_flush_denormals()
      while true {
        let index = next.add(1, ordering: .relaxed).oldValue
        guard index < count else { return }
        body(index)
      }
    }
  }

  /// Runs `body` over fixed pieces of `0..<rows`; the piece depends on `rowsPerChunk` alone.
  static func forEachRange(rows: Int, rowsPerChunk: Int, _ body: @Sendable (Range<Int>) -> Void) {
    guard rows > 0 else { return }
    let size = max(1, rowsPerChunk)
    forEachChunk((rows + size - 1) / size) { index in
      body(index * size..<min(rows, (index + 1) * size))
    }
  }
}
