import RunKit
import TensorCore
public import TokenModel

/// Measures where a model looks on one sample: the forward pass with an observer, and the record of what it saw.
public struct AttentionProbe {
  /// The settings that change how it is measured, besides the definition.
  public struct Options: Sendable, Equatable {
    /// Queries in a block of attention; results have the same bits for any number.
    public var queryBlock = 128
    /// The most pieces of a generated answer.
    public var answerLimit = 64

    /// The defaults.
    public init() {}
  }

  /// The samples of a run, for methods that look at another one.
  public struct Donors {
    /// How many there are.
    public let count: Int
    /// Gives the sample of an index.
    public let sample: (Int) throws -> Sample

    /// Samples by their index.
    public init(count: Int, sample: @escaping (Int) throws -> Sample) {
      (self.count, self.sample) = (count, sample)
    }
  }

  private let checkpoint: Checkpoint
  private let contributionProbe: ContributionProbe?
  private let definition: AttentionDefinition
  private let options: Options
  private let donors: Donors?

  /// - Parameters:
  ///   - definition: Layers and heads must exist in the model.
  ///   - donors: For contributions that replace a modality by another sample's.
  public init(
    _ checkpoint: Checkpoint, definition: AttentionDefinition, options: Options = Options(),
    donors: Donors? = nil
  ) {
    let configuration = checkpoint.model.decoder.configuration
    require(
      definition.layers.allSatisfy { 0..<configuration.layerCount ~= $0 }
        && definition.heads.allSatisfy { 0..<configuration.headCount ~= $0 },
      "layers \(definition.layers) or heads \(definition.heads) that the model does not have")
    (self.checkpoint, self.definition, self.options) = (checkpoint, definition, options)
    self.donors = donors
    contributionProbe = definition.contribution.map {
      ContributionProbe(checkpoint, definition, $0, donors: donors)
    }
  }

  /// The same on the first layers of the model only, to measure what a layer costs; its records mean nothing.
  func truncated(toLayers count: Int, clock: LayerClock) -> AttentionProbe {
    AttentionProbe(
      checkpoint.truncated(toLayers: count, clock: clock), definition: definition, options: options,
      donors: donors)
  }

  /// Measures a sample.
  ///
  /// - Parameter keepsKeys: Whether attention by key and the media are kept, for a report to draw.
  /// - Throws: `ProbeError`, `PromptError`, `TokenizerError`, `ModelError`.
  public func record(of sample: Sample, keepsKeys: Bool) throws -> AttentionRecord {
    let (prompt, generated) = try prompt(for: sample)
    let context = TokenContext([prompt])
    let rows = try queryRows(prompt, sample)
    let embeddings = checkpoint.model.embeddings(prompt)
    let groupOfRole = Dictionary(
      definition.groups.enumerated().flatMap { index, group in group.roles.map { ($0, index) } },
      uniquingKeysWith: { first, _ in first })
    let groupOfKey = prompt.spans.roles.map { groupOfRole[$0] ?? -1 }

    var sinks: [AttentionRecord.Sink] = []
    if definition.sinks == .auto {
      sinks = self.sinks(embeddings, context, prompt, groupOfKey)
    }
    let observer = ShareObserver(
      definition, rows: rows, groupOfKey: groupOfKey, sinks: Set(sinks.map(\.row)), keepsKeys: keepsKeys)
    forward(embeddings, context, observer)
    let sums = observer.sums
    let visible = meanVisible(rows, groupOfKey)
    var record = AttentionRecord(
      index: sample.index, id: sample.id, hash: Self.hash(of: sample),
      clusters: Dictionary(grouping: sample.media) { $0.modality.rawValue }.mapValues {
        $0.map(\.identity).joined(separator: "+")
      },
      tags: sample.tags, tokens: definition.groups.indices.map { group in groupOfKey.count { $0 == group } },
      visible: visible.counts, queryCount: rows.count, text: sample.turns.map(\.text).joined(separator: "\n"),
      answer: sample.answer, generated: generated, share: sums.share,
      sinkShare: definition.sinks == .auto ? sums.sinkShare : nil, sinks: sinks, entropy: sums.entropy,
      baseline: visible.uniform.map { Float($0) },
      queryTokens: observer.queryTokens.enumerated().map { position, share in
        AttentionRecord.QueryToken(
          row: rows[position], piece: prompt.piece(at: rows[position]),
          predicts: predicted(rows[position], prompt),
          share: share)
      },
      keys: keepsKeys
        ? AttentionRecord.Keys(
          share: observer.keyShare, pieces: (0..<prompt.count).map(prompt.piece), groups: groupOfKey) : nil,
      media: keepsKeys ? media(prompt) : [], rowSumError: sums.rowSumError,
      nonfiniteCount: sums.nonfiniteCount)
    record.contribution = try contributionProbe?.contribution(to: sample, prompt)
    return record
  }

  private func forward(_ embeddings: Tensor, _ context: TokenContext, _ observer: any ForwardObserver) {
    var forward = ForwardOptions()
    forward.logits = .none
    forward.observers = [observer]
    forward.queryBlock = options.queryBlock
    _ = checkpoint.model.decoder.forward(embeddings, context: context, options: forward)
  }

  /// The prompt with the answer the query set needs, and the generated text if there is one.
  private func prompt(for sample: Sample) throws -> (Prompt, String?) {
    switch definition.queries {
    case .given: throw ProbeError.noQueries(sample: sample.id)
    case .last: return (try checkpoint.prompt(for: sample), nil)
    case .text, .all: return (try checkpoint.prompt(for: sample, includesAnswer: true), nil)
    case .answer:
      guard sample.answer != nil else { throw ProbeError.noAnswer(sample: sample.id) }
      return (try checkpoint.prompt(for: sample, includesAnswer: true), nil)
    case .generated:
      let prompt = try checkpoint.prompt(for: sample)
      var generator = Generator(checkpoint)
      generator.limit = options.answerLimit
      let answer = try generator.answers(
        to: Generator.Start([prompt], model: checkpoint.model))
      let text = try checkpoint.requiredTokenizer().decode(answer[0].ids)
      return (try checkpoint.appending(ids: answer[0].ids, to: prompt), text)
    }
  }

  private func queryRows(_ prompt: Prompt, _ sample: Sample) throws -> [Int] {
    let rows: [Int]
    switch definition.queries {
    case .last: rows = [prompt.promptCount - 1]
    case .answer, .generated: rows = Array(prompt.promptCount - 1..<max(prompt.promptCount, prompt.count - 1))
    case .text: rows = (0..<prompt.count).filter { prompt.spans.roles[$0].isText }
    case .all: rows = Array(0..<prompt.count)
    case .given: rows = []
    }
    guard !rows.isEmpty, rows[0] >= 0 else { throw ProbeError.noQueries(sample: sample.id) }
    return rows
  }

  /// The piece whose logits a row computes, where the next piece is known.
  private func predicted(_ row: Int, _ prompt: Prompt) -> String? {
    row + 1 >= prompt.promptCount && row + 1 < prompt.count ? prompt.piece(at: row + 1) : nil
  }

  /// For each group, the mean number of keys a query sees, and its share under uniform attention.
  private func meanVisible(_ rows: [Int], _ groupOfKey: [Int]) -> (counts: [Double], uniform: [Double]) {
    let groups = definition.groups.count
    var (counts, uniform) = ([Double](repeating: 0, count: groups), [Double](repeating: 0, count: groups))
    var running = [Int](repeating: 0, count: groups)
    var next = 0
    for row in rows {
      // The mask is causal: row i sees keys 0...i.
      while next <= row {
        if groupOfKey[next] >= 0 { running[groupOfKey[next]] += 1 }
        next += 1
      }
      for group in 0..<groups {
        counts[group] += Double(running[group])
        uniform[group] += Double(running[group]) / Double(row + 1)
      }
    }
    return (counts.map { $0 / Double(rows.count) }, uniform.map { $0 / Double(rows.count) })
  }

  /// Keys that draw the attention of many heads from all rows that see them.
  ///
  /// αₖ is the mean attention on key k over the rows i ≥ k; a head is drawn to the key if αₖ > ε, and the key is a sink
  /// if the fraction of heads drawn is at least `AttentionDefinition.sinkRate`. Keys that fewer than a quarter of the
  /// rows see are not judged: a mean over a few rows says nothing.
  ///
  /// Source: Gu et al., ICLR 2025, arXiv:2410.10781, section 3.
  private func sinks(
    _ embeddings: Tensor, _ context: TokenContext, _ prompt: Prompt, _ groupOfKey: [Int]
  ) -> [AttentionRecord.Sink] {
    let observer = SinkObserver(definition)
    forward(embeddings, context, observer)
    let count = prompt.count
    return (0..<count).compactMap { key in
      let seenBy = count - key
      guard 4 * seenBy >= count, groupOfKey[key] >= 0 else { return nil }
      let drawn = observer.columnSums.count { $0[key] / Double(seenBy) > definition.sinkThreshold }
      let rate = Double(drawn) / Double(observer.columnSums.count)
      guard rate >= AttentionDefinition.sinkRate else { return nil }
      return AttentionRecord.Sink(row: key, group: groupOfKey[key], piece: prompt.piece(at: key), rate: rate)
    }
  }

  /// The largest grid of every medium; of an image in tiles the overview, where it is the largest.
  private func media(_ prompt: Prompt) -> [AttentionRecord.Medium] {
    prompt.media.indices.compactMap { index in
      let spans = prompt.spans.spans.filter { $0.medium == index && $0.grid != nil }
      // The first of equals: `max` would give the last.
      guard let most = spans.map(\.positions.count).max(),
        let span = spans.first(where: { $0.positions.count == most }), let grid = span.grid
      else { return nil }
      let medium = prompt.media[index]
      let part = medium.part(rows: span.rows ?? 0..<0, of: checkpoint.model.rowCount(of: medium), grid: grid)
      let (width, height, pixels) = part.picture
      return AttentionRecord.Medium(
        kind: prompt.media[index].modality.rawValue, firstKey: span.positions.lowerBound,
        keys: span.positions.count, width: width, height: height, gridWidth: grid.columns,
        gridHeight: grid.rows, pixels: pixels)
    }
  }

  /// What a sample is, apart from its name and place: changed content gets another hash.
  static func hash(of sample: Sample) -> String {
    var hash = SHA256()
    for turn in sample.turns { hash.update(Array("\(turn.speaker.rawValue)\u{0}\(turn.text)\u{0}".utf8)) }
    for medium in sample.media {
      hash.update(Array("\(medium.modality.rawValue) \(medium.shape)\u{0}".utf8))
      switch medium.values {
      case .bytes(let bytes): hash.update(bytes)
      case .numbers(let numbers):
        hash.update(
          numbers.flatMap { number in
            (0..<4).map { UInt8(truncatingIfNeeded: number.bitPattern >> (8 * $0)) }
          })
      }
    }
    hash.update(Array("\u{0}\(sample.answer ?? "")".utf8))
    return hash.hexadecimal()
  }
}
