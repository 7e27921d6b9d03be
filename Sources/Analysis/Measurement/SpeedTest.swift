import RunKit
import TensorCore

/// How fast this machine multiplies matrices here.
public struct SpeedTest: Sendable, Equatable {
  /// Billions of floating-point operations a second with the threads that are set.
  public let gigaflops: Double
  /// The same with one thread.
  public let gigaflopsOfOneThread: Double

  /// Multiplies a 1,024 x 2,048 matrix by a 2,048 x 2,048 weight, both in float32: about what a layer of a model does.
  ///
  /// - Parameter seconds: Time for each of the two figures.
  public init(seconds: Double = 1) {
    let threads = Workers.threadCount
    gigaflops = Self.measure(seconds: seconds)
    Workers.threadCount = 1
    gigaflopsOfOneThread = threads == 1 ? gigaflops : Self.measure(seconds: seconds)
    Workers.threadCount = threads
  }

  /// Billions of floating-point operations a second with the threads that are set.
  static func measure(seconds: Double) -> Double {
    let (rows, size) = (1024, 2048)
    let input = Tensor(repeating: 0.5, shape: [rows, size])
    let weight = Tensor(repeating: 0.25, shape: [size, size])
    _ = input.matmul(weight, transposingOther: true)
    let start = ProcessFacts.monotonicSeconds
    var (count, elapsed) = (0, 0.0)
    while elapsed < seconds || count == 0 {
      _ = input.matmul(weight, transposingOther: true)
      count += 1
      elapsed = ProcessFacts.monotonicSeconds - start
    }
    return 2 * Double(rows * size * size) * Double(count) / elapsed * 1e-9
  }
}
