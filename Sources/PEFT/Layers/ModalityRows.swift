import TensorCore
import TokenModel

/// Which of several matrices, one for each modality, serves each row of a batch.
struct ModalityRows {
  /// For each row the number of its matrix; negative for a row that none serves.
  let owners: [Int]
  private let used: [Int]
  private let segments: RowSegments?

  /// - Parameter modalities: The modality of each matrix. Images and videos are served by the matrix of the other where
  ///   they have none of their own; rows of a modality without a matrix by none. Whatever is no medium is text.
  init(_ context: TokenContext, _ modalities: [Modality]) {
    let byRole = Dictionary(
      uniqueKeysWithValues: Role.allCases.map { ($0, Self.owner(of: $0, among: modalities)) })
    owners = context.roles.map { byRole[$0] ?? -1 }
    used = Set(owners).filter { $0 >= 0 }.sorted()
    segments = context.joinsSequences ? nil : context.segments
  }

  private static func owner(of role: Role, among modalities: [Modality]) -> Int {
    let wanted: [Modality]
    switch role {
    case .image: wanted = [.image, .video]
    case .video: wanted = [.video, .image]
    case .audio: wanted = [.audio]
    default: wanted = [.text]
    }
    return wanted.lazy.compactMap { modalities.firstIndex(of: $0) }.first ?? -1
  }

  /// 1 for the rows of a matrix and 0 for the others, `[rows, 1]`; nil where all rows are of this one.
  private func mask(_ owner: Int) -> Tensor? {
    if owners.allSatisfy({ $0 == owner }) { return nil }
    return Tensor(owners.map { $0 == owner ? 1 : 0 }, shape: [owners.count, 1])
  }

  /// The rows of a matrix, zeros in the place of others.
  func only(_ owner: Int, of rows: Tensor) -> Tensor { mask(owner).map { rows * $0 } ?? rows }

  /// The sum of something over the matrices that serve rows; nil where none does.
  func sum(_ part: (Int) -> Tensor) -> Tensor? {
    var sum: Tensor?
    for owner in used {
      let part = part(owner)
      sum = sum.map { $0 + part } ?? part
    }
    return sum
  }

  /// Every row times the transpose of its own matrix, `[rows, matrix rows]`; zeros for rows that none serves.
  ///
  /// Each product runs over all rows, so that a row has the bits it has in any other batch.
  func product(_ x: Tensor, _ matrices: [Tensor]) -> Tensor {
    sum { only($0, of: LinearWeight(matrices[$0]).forward(x, segments: segments)) }
      ?? Tensor(zeros: [x.rows, matrices[0].shape[0]])
  }
}
