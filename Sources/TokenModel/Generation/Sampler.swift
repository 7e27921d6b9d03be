import Foundation
public import RunKit

/// How the next id is chosen from logits.
public struct Sampler: Sendable, Equatable {
  /// 0 takes the most likely id; above 0 logits are divided by it before drawing.
  public var temperature: Float
  /// Only the k most likely ids may be drawn; nil for all.
  public var topK: Int?
  /// Only the most likely ids that together reach this probability may be drawn; nil for all.
  public var topP: Float?

  /// The most likely id; of equal logits the lowest id.
  public static let greedy = Sampler(temperature: 0)

  /// - Parameters:
  ///   - temperature: 0 or above.
  ///   - topK: At least 1.
  ///   - topP: Above 0, at most 1.
  public init(temperature: Float, topK: Int? = nil, topP: Float? = nil) {
    (self.temperature, self.topK, self.topP) = (temperature, topK, topP)
  }

  /// Chooses an id.
  ///
  /// - Parameter stream: Advanced by one draw when `temperature` is above 0.
  public func choose(from logits: [Float], using stream: inout RandomStream) -> Int {
    guard temperature > 0 else {
      return logits.indices.reduce(0) { logits[$1] > logits[$0] ? $1 : $0 }
    }
    // Descending, lower ids first among equals: the order is the same on every machine.
    var candidates = logits.indices.sorted { (logits[$0], $1) > (logits[$1], $0) }
    if let topK { candidates = Array(candidates.prefix(topK)) }
    let largest = Double(logits[candidates[0]])
    var weights = candidates.map { exp((Double(logits[$0]) - largest) / Double(temperature)) }
    if let topP {
      let total = weights.reduce(0, +)
      var (sum, count) = (0.0, 0)
      while count < weights.count, sum < Double(topP) * total {
        sum += weights[count]
        count += 1
      }
      candidates = Array(candidates.prefix(max(1, count)))
      weights = Array(weights.prefix(max(1, count)))
    }
    var rest = stream.uniform() * weights.reduce(0, +)
    for (candidate, weight) in zip(candidates, weights) {
      rest -= weight
      if rest < 0 { return candidate }
    }
    return candidates[candidates.count - 1]
  }
}
