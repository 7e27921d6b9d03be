import Analysis
import TokenModel

/// Where the samples of a run come from: a data file, or one conversation on the command line.
struct SampleSource {
  /// The data file; nil for a conversation on the command line.
  let data: DataSet?
  /// For the context of the run.
  let description: AttentionContext.Data
  /// Gives the sample of an index.
  let sample: (Int) throws -> Sample
  /// Whether every sample has an answer.
  let hasAnswers: Bool

  init(_ options: DataOptions, _ conversation: SampleOptions, _ checkpoint: Checkpoint) throws {
    guard options.path != nil else {
      let single = try conversation.sample(for: checkpoint)
      data = nil
      description = .init(name: "command line", sha256: nil, sampleCount: 1)
      sample = { _ in single }
      hasAnswers = false
      return
    }
    let data = try options.open()
    self.data = data
    description = .init(
      name: data.url.lastPathComponent, sha256: data.sha256, sampleCount: options.count(of: data),
      media: try options.mediaHashes(of: data), mediaRoot: options.media.root?.lastPathComponent)
    sample = { try data.sample(at: $0, for: checkpoint) }
    hasAnswers = (0..<options.count(of: data)).allSatisfy(data.hasAnswer)
  }
}
