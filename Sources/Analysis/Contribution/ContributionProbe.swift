import RunKit
import TensorCore
import TokenModel

/// Measures what the groups of one sample are worth.
struct ContributionProbe {
  private let checkpoint: Checkpoint
  private let definition: AttentionDefinition
  private let contribution: ContributionDefinition
  private let donors: AttentionProbe.Donors?
  /// The mean row of the embedding table, where the method asks for it: `[1, hidden]`.
  private let meanRow: Tensor?
  /// Donors that are tried before a sample is given up.
  private static let drawLimit = 64

  /// - Parameter donors: The other samples, for replacement.
  init(
    _ checkpoint: Checkpoint, _ definition: AttentionDefinition, _ contribution: ContributionDefinition,
    donors: AttentionProbe.Donors?
  ) {
    self.checkpoint = checkpoint
    self.definition = definition
    self.contribution = contribution
    self.donors = donors
    switch contribution.method {
    case .shapley(_, .mean), .integratedGradients(_, .mean):
      meanRow = BlankEmbeddings(checkpoint.model).meanRow()
    default: meanRow = nil
    }
  }

  /// Explains a sample.
  ///
  /// - Parameter prompt: The prompt of the sample without an answer.
  /// - Throws: `ProbeError`, `PromptError`, `TokenizerError`, `DataSetError` of a donor.
  func contribution(to sample: Sample, _ prompt: Prompt) throws -> Contribution {
    let item = ContributionCase(
      model: checkpoint.model, tokenizer: try checkpoint.requiredTokenizer(), definition: definition,
      contribution: contribution, prompt: prompt, embeddings: checkpoint.model.embeddings(prompt),
      answerID: try answerID(of: sample, prompt))
    let measured: Contribution
    switch contribution.method {
    case .shapley(let players, let removal):
      measured = try ModalityShapley(players: players, removal: removal)
        .contribution(of: item, absent: try absent(item, players, removal, sample), sample: sample.id)
    case .knockout(let queries, let keys, let window, let byHead):
      measured = KnockoutEffect(queries: queries, keys: keys, window: window, byHead: byHead)
        .contribution(of: item)
    case .valueNorm: measured = ValueNorms().contribution(of: item)
    case .gradientInput: measured = GradientInput().contribution(of: item)
    case .integratedGradients(let steps, let baseline):
      measured = IntegratedGradients(steps: steps)
        .contribution(of: item, baseline: try self.baseline(item, baseline, sample))
    }
    guard measured.isFinite else { throw ProbeError.notFinite(sample: sample.id) }
    return measured
  }

  private func answerID(of sample: Sample, _ prompt: Prompt) throws -> Int? {
    guard contribution.piece == .answer else { return nil }
    let answered = try checkpoint.prompt(for: sample, includesAnswer: true)
    guard sample.answer != nil, answered.ids.count > prompt.ids.count else {
      throw ProbeError.noPiece(sample: sample.id)
    }
    return answered.ids[prompt.ids.count]
  }

  /// The rows of each player when it is absent; empty for deletion.
  private func absent(
    _ item: ContributionCase, _ players: [Role], _ removal: ContributionDefinition.Removal, _ sample: Sample
  ) throws -> ModalityShapley.Absent {
    let present = players.filter { !item.rows(of: $0).isEmpty }
    var absent: ModalityShapley.Absent = [:]
    switch removal {
    case .deletion: break
    case .blank:
      let blanked = try BlankEmbeddings(checkpoint.model).blanked(
        item.prompt, item.embeddings, sample: sample.id)
      for player in present { absent[player] = blanked.gatherRows(item.rows(of: player)) }
    case .mean:
      for player in present {
        absent[player] = meanRow?.gatherRows([Int](repeating: 0, count: item.rows(of: player).count))
      }
    case .replacement:
      for player in present { absent[player] = try donated(player, item, sample) }
    }
    return absent
  }

  /// Where integrated gradients begin, `[rows, hidden]`.
  private func baseline(
    _ item: ContributionCase, _ baseline: ContributionDefinition.Baseline, _ sample: Sample
  ) throws(ProbeError) -> Tensor {
    switch baseline {
    case .zero: Tensor(zeros: item.embeddings.shape)
    case .blank:
      try BlankEmbeddings(checkpoint.model).blanked(item.prompt, item.embeddings, sample: sample.id)
    case .mean: Tensor(zeros: item.embeddings.shape) + (meanRow ?? Tensor(scalar: 0))
    }
  }

  /// The rows of a modality of another sample that has it, and has another one than this.
  private func donated(_ player: Role, _ item: ContributionCase, _ sample: Sample) throws -> Tensor {
    guard let donors, donors.count > 1 else {
      throw ProbeError.noDonor(sample: sample.id, role: player.rawValue)
    }
    let own = identity(player, sample, item.prompt)
    // The stream is that of the sample and the player, so that shards and resumed runs draw the same.
    var stream = RandomStream(
      seed: definition.interval.seed, purpose: "replacement.\(player.rawValue)", id: sample.index)
    for _ in 0..<Self.drawLimit {
      let index = stream.integer(below: donors.count)
      guard index != sample.index, let donor = try? donors.sample(index),
        let prompt = try? checkpoint.prompt(for: donor), identity(player, donor, prompt) != own
      else { continue }
      let rows = prompt.spans.roles.indices.filter { prompt.spans.roles[$0] == player }
      if !rows.isEmpty { return checkpoint.model.embeddings(prompt).gatherRows(rows) }
    }
    throw ProbeError.noDonor(sample: sample.id, role: player.rawValue)
  }

  /// What tells one image, sound or question from another.
  private func identity(_ player: Role, _ sample: Sample, _ prompt: Prompt) -> [String] {
    if Role.media.contains(player) {
      return sample.media.filter { $0.modality.role == player }.map(\.identity)
    }
    return prompt.spans.roles.indices.filter { prompt.spans.roles[$0] == player }.map(prompt.piece)
  }
}
