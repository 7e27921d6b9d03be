import Foundation

/// How the learning rate changes from step to step.
///
/// During the warm-up it rises linearly, (step + 1) / warmup of its value; the shape counts from its end.
public struct LearningRateSchedule: Sendable, Equatable {
  /// The course after the warm-up.
  public enum Shape: Sendable, Equatable {
    /// It stays.
    case constant
    /// It is multiplied by `factor` after every `interval` steps.
    case step(interval: Int, factor: Double)
    /// Half a cosine from 1 down to `floor` in the last step.
    ///
    /// Source: Loshchilov and Hutter, "SGDR", ICLR 2017, arXiv:1608.03983, equation 5, without restarts.
    case cosine(floor: Double)
    /// A straight line from 1 down to `floor` in the last step.
    case linear(floor: Double)
  }

  /// The learning rate that factors multiply.
  public let peak: Double
  /// The course.
  public let shape: Shape
  /// Steps of the warm-up.
  public let warmup: Int
  /// All steps.
  public let total: Int

  /// - Parameters:
  ///   - peak: Above 0.
  ///   - warmup: At least 0.
  ///   - total: All steps, the warm-up included; at least 1.
  public init(peak: Double, shape: Shape = .constant, warmup: Int = 0, total: Int) {
    require(peak > 0 && warmup >= 0 && total >= 1, "a learning rate of \(peak) over \(total) steps")
    (self.peak, self.shape, self.warmup, self.total) = (peak, shape, warmup, total)
  }

  /// The learning rate of a step, counted from 0.
  public func learningRate(at step: Int) -> Double {
    if step < warmup { return peak * Double(step + 1) / Double(warmup) }
    let share = min(1, Double(step - warmup) / Double(max(1, total - 1 - warmup)))
    switch shape {
    case .constant: return peak
    case .step(let interval, let factor): return peak * pow(factor, Double((step - warmup) / interval))
    case .cosine(let floor): return peak * (floor + (1 - floor) * (1 + cos(Double.pi * share)) / 2)
    case .linear(let floor): return peak * (floor + (1 - floor) * (1 - share))
    }
  }
}
