import RunKit
import TensorCore

/// How fast this machine multiplies matrices here.
public struct SpeedTest: Sendable, Equatable {
  /// Billions of floating-point operations a second with the threads that are set.
  public let gigaflops: Double
  /// The same with one thread.
  public let gigaflopsOfOneThread: Double

  /// Multiplies 768 x 768 matrices.
  ///
  /// - Parameter seconds: Time for each of the two figures.
  public init(seconds: Double = 1) {
    let threads = Workers.threadCount
    gigaflops = Self.measure(seconds: seconds)
    Workers.threadCount = 1
    gigaflopsOfOneThread = threads == 1 ? gigaflops : Self.measure(seconds: seconds)
    Workers.threadCount = threads
  }

  private static func measure(seconds: Double) -> Double {
    let size = 768
    let matrix = Tensor(repeating: 0.5, shape: [size, size])
    let weight = LinearWeight(matrix)
    _ = weight.forward(matrix)
    let start = ProcessFacts.monotonicSeconds
    var (count, elapsed) = (0, 0.0)
    while elapsed < seconds || count == 0 {
      _ = weight.forward(matrix)
      count += 1
      elapsed = ProcessFacts.monotonicSeconds - start
    }
    return 2 * Double(size * size * size) * Double(count) / elapsed * 1e-9
  }
}
