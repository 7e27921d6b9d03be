public import RunKit
import TensorCore
public import TokenModel

/// The memory that answering prompts together takes, measured by sending them through the first layers.
public struct AnswerPlan: Sendable, Equatable {
  /// Prompts of the batch.
  public let promptCount: Int
  /// Positions of the longest prompt.
  public let longestPrompt: Int
  /// The most memory of the process with mapped weights, in bytes.
  public let peakBytes: Int

  /// Layers that are measured; the others are like them.
  private static let trialLayers = 3

  /// Measures a batch.
  ///
  /// - Parameters:
  ///   - prompts: The batch that takes most, at least one prompt.
  ///   - answerLimit: The most tokens of an answer.
  /// - Throws: `ModelError`.
  public init(_ checkpoint: Checkpoint, _ prompts: [Prompt], answerLimit: Int) throws(ModelError) {
    let sizes = checkpoint.model.decoder.configuration
    let layers = min(Self.trialLayers, sizes.layerCount)
    let model = checkpoint.truncated(toLayers: layers, clock: LayerClock()).model
    var generator = Generator(model)
    generator.limit = 1
    _ = try generator.answers(to: .init(prompts, model: model))
    promptCount = prompts.count
    longestPrompt = prompts.map(\.count).max() ?? 0
    // The trial's cache has its layers and no answers.
    let row = 2 * prompts.count * sizes.keyValueHeadCount * sizes.headSize * MemoryLayout<Float>.stride
    peakBytes =
      ProcessMemory.current.peakResident
      + row * (sizes.layerCount * (longestPrompt + answerLimit) - layers * longestPrompt)
  }

  /// Refuses what would not fit `MemoryLimit`.
  ///
  /// - Throws: `MemoryLimitError.tooLittle`.
  public func check() throws(MemoryLimitError) {
    let prompts =
      promptCount == 1
      ? "answering a prompt of \(longestPrompt) tokens"
      : "answering \(promptCount) prompts of up to \(longestPrompt) tokens"
    try MemoryLimit.check(needed: peakBytes, for: prompts)
  }
}
