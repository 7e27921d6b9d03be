public import TensorCore

/// Replaces the embedding rows of chosen positions, such as those of an image, by given rows.
///
/// The number of rows and their positions stay, so that nothing else about the prompt changes.
public struct BlankRows: Intervention {
  /// Rows of the batch to replace.
  public let rows: [Int]
  /// What they become, `[rows, hidden]`.
  public let replacement: Tensor

  /// Replaces `rows` by the rows of `replacement`.
  public init(rows: [Int], replacement: Tensor) {
    require(replacement.rows == rows.count, "\(replacement.rows) replacements for \(rows.count) rows")
    (self.rows, self.replacement) = (rows, replacement)
  }

  /// Whether this tensor is changed.
  public func edits(_ name: TensorName) -> Bool { name == TensorName(.embeddings) }

  /// The changed tensor.
  public func edit(_ tensor: Tensor, _ name: TensorName, context: TokenContext) -> Tensor {
    tensor.replacingRows(rows, with: replacement)
  }
}
