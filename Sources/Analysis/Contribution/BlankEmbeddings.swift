import TensorCore
import TokenModel

/// Rows that stand for the absence of something.
struct BlankEmbeddings {
  private let model: any LanguageModel
  /// Ids whose rows are read at a time, for the mean over a large table.
  private static let idsAtOnce = 4096

  init(_ model: any LanguageModel) { self.model = model }

  /// The mean of the rows of all text ids, `[1, hidden]`.
  func meanRow() -> Tensor {
    let (count, hidden) = (model.decoder.configuration.vocabularySize, model.decoder.configuration.hiddenSize)
    var sums = [Double](repeating: 0, count: hidden)
    for start in stride(from: 0, to: count, by: Self.idsAtOnce) {
      let ids = Array(start..<min(count, start + Self.idsAtOnce))
      for row in model.textEmbeddings(ids).hostRows() {
        for column in 0..<hidden { sums[column] += Double(row[column]) }
      }
    }
    return Tensor(sums.map { Float($0 / Double(count)) }, shape: [1, hidden])
  }

  /// The rows of a prompt with media at their mean input and the question as padding, `[rows, hidden]`; the others as in
  /// `embeddings`.
  ///
  /// - Throws: `ProbeError.noPadding` where there is a question and the model has no id of padding.
  func blanked(_ prompt: Prompt, _ embeddings: Tensor, sample: String) throws(ProbeError) -> Tensor {
    var rows: [Int] = []
    var blanks: [Tensor] = []
    let media = prompt.media.map { model.blankEmbeddings($0) }
    for span in prompt.spans.spans {
      if let medium = span.medium, let own = span.rows {
        rows += span.positions
        blanks.append(media[medium].slice(own))
      } else if span.role == .question {
        guard let padding = model.decoder.configuration.paddingID else {
          throw .noPadding(sample: sample)
        }
        rows += span.positions
        blanks.append(model.textEmbeddings([Int](repeating: padding, count: span.positions.count)))
      }
    }
    guard !rows.isEmpty else { return embeddings }
    return embeddings.replacingRows(rows, with: Tensor.concatenated(blanks))
  }
}
