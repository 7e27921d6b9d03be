import TensorCore
import TokenModel

/// Some records one after another, without padding.
struct FinetuneBatch {
  let examples: [FinetuneData.Example]

  /// The prompts with their answers.
  var prompts: [Prompt] { examples.map(\.prompt) }
  /// Rows that predict an answer piece.
  let lossRows: [Int]
  /// The pieces.
  let labels: [Int]

  init(_ examples: [FinetuneData.Example]) {
    self.examples = examples
    let all = examples.flatMap(\.labels)
    lossRows = all.indices.filter { all[$0] >= 0 }
    labels = lossRows.map { all[$0] }
  }

  /// What the rows are.
  var context: TokenContext {
    var context = TokenContext(prompts)
    context.joinsSequences = true
    return context
  }

  /// The modalities of the rows, text first.
  var modalities: [Modality] {
    let roles = Set(prompts.flatMap(\.spans.roles))
    return [.text] + Modality.media.filter { $0.role.map(roles.contains) ?? false }
  }

  /// The rows, `[rows, hidden]`.
  ///
  /// - Parameter blanksMedia: Whether media show nothing.
  func embeddings(_ model: any LanguageModel, blanksMedia: Bool = false) -> Tensor {
    guard blanksMedia else { return .concatenated(prompts.map { model.embeddings($0) }) }
    return .concatenated(
      prompts.flatMap { prompt in
        let media = prompt.media.map { model.blankEmbeddings($0) }
        return prompt.spans.spans.map { span in
          if let medium = span.medium, let rows = span.rows { return media[medium].slice(rows) }
          return model.textEmbeddings(span.positions.map { prompt.ids[prompt.spans.sources[$0]] })
        }
      })
  }

  /// For each modality its rows.
  func rows(of modality: Modality) -> [Int] {
    let roles = prompts.flatMap(\.spans.roles)
    if modality == .text { return roles.indices.filter { !Role.media.contains(roles[$0]) } }
    return roles.indices.filter { roles[$0] == modality.role }
  }
}
