import TensorCore

/// The inputs of one modality for all samples of a split.
protocol SampleRows: Sendable {
  /// The number of samples.
  var count: Int { get }
  /// The shape of one sample's input.
  var shape: [Int] { get }
  /// The inputs of some samples, `[indices] + shape`.
  ///
  /// - Parameter draw: How they are changed at random; nil for as they are.
  func tensor(_ indices: [Int], _ draw: AugmentationDraw?) -> Tensor
}

/// Inputs that are in memory; nothing changes them.
struct HeldRows: SampleRows {
  private let values: Tensor

  init(_ values: Tensor) { self.values = values }

  var count: Int { values.shape[0] }
  var shape: [Int] { Array(values.shape.dropFirst()) }
  func tensor(_ indices: [Int], _ draw: AugmentationDraw?) -> Tensor { values.gatherRows(indices) }
}
