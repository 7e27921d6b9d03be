import RunKit
import TensorCore
import TokenModel

/// The rows of one part of a training step: for each group its media once, then its questions, each of which sees the
/// media and itself only.
///
///     <s> <|user|> media rows  question 1 <|assistant|> answer </s>  question 2 …
///
/// The positions of every question begin behind the media, so that hidden states and losses are those of separate
/// sequences (`AttentionMask.branches`).
struct TrainingBatch {
  /// Ids of text rows, in the order of `order`.
  private(set) var textIDs: [Int] = []
  /// For each modality the inputs of its media, one after another.
  private(set) var mediaInputs: [Modality: [Float]] = [:]
  /// What every row is.
  private(set) var roles: [Role] = []
  private var positions: [Int] = []
  private var lengths: [Int] = []
  private var prefixLengths: [Int] = []
  private var branches: [[Int]] = []
  /// Rows that predict an answer piece, and the pieces.
  private(set) var lossRows: [Int] = []
  private(set) var labels: [Int] = []
  // Where each row comes from: the n-th row of text, image or audio.
  private var sources: [(modality: Modality, index: Int)] = []
  private var mediaRows: [Modality: Int] = [:]

  /// The number of rows.
  var rowCount: Int { roles.count }

  /// Adds a group.
  ///
  /// - Parameters:
  ///   - opening: Ids before the media and their roles.
  ///   - media: Inputs of each medium in order, and how many rows it becomes.
  ///   - questions: At least one.
  mutating func append(
    opening: (ids: [Int], roles: [Role]), media: [(modality: Modality, inputs: [Float], rows: Int)],
    questions: [TrainingQuestions.Question]
  ) {
    let start = rowCount
    for (id, role) in zip(opening.ids, opening.roles) { appendText(id, role, position: rowCount - start) }
    for medium in media {
      let first = mediaRows[medium.modality, default: 0]
      mediaInputs[medium.modality, default: []] += medium.inputs
      for row in 0..<medium.rows {
        sources.append((medium.modality, first + row))
        roles.append(medium.modality.role ?? .image)
        positions.append(rowCount - 1 - start)
      }
      mediaRows[medium.modality] = first + medium.rows
    }
    let prefix = rowCount - start
    var ids = [Int](repeating: -1, count: prefix)
    for (branch, question) in questions.enumerated() {
      let firstAnswer = question.ids.count - question.answerCount
      for (place, id) in question.ids.enumerated() {
        // The row before an answer piece predicts it.
        if place + 1 < question.ids.count && place + 1 >= firstAnswer {
          lossRows.append(rowCount)
          labels.append(question.ids[place + 1])
        }
        appendText(id, question.roles[place], position: prefix + place)
        ids.append(branch)
      }
    }
    lengths.append(rowCount - start)
    prefixLengths.append(prefix)
    branches.append(ids)
  }

  private mutating func appendText(_ id: Int, _ role: Role, position: Int) {
    sources.append((.text, textIDs.count))
    textIDs.append(id)
    roles.append(role)
    positions.append(position)
  }

  /// Which rows belong together and what they see.
  var context: TokenContext {
    var context = TokenContext(
      segments: RowSegments(lengths: lengths), positions: positions, roles: roles,
      mask: .branches(prefix: prefixLengths, ids: branches))
    context.joinsSequences = true
    return context
  }

  /// The rows, `[rowCount, hidden]`: one look-up for all text, one product for all media of a modality.
  func embeddings(_ model: AVTLlamaModel) -> Tensor {
    var parts = [model.textEmbeddings(textIDs)]
    var starts: [Modality: Int] = [.text: 0]
    var count = textIDs.count
    for modality in model.modalities {
      guard let inputs = mediaInputs[modality], let rows = mediaRows[modality], rows > 0 else { continue }
      starts[modality] = count
      count += rows
      parts.append(
        model.mediaEmbeddings(modality, inputs: Tensor(inputs, shape: [rows, inputs.count / rows])))
    }
    return Tensor.concatenated(parts).gatherRows(sources.map { (starts[$0.modality] ?? 0) + $0.index })
  }
}
