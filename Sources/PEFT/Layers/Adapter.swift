import TensorCore
public import TokenModel

/// A trainable addition to a linear layer of a frozen model.
///
/// An adapter is itself a linear layer: it holds the layer it was put around, computes that layer's output and adds its
/// own. It gets the context of the rows, since some adapters treat the rows of each modality in their own way.
public protocol Adapter: LinearLayer {
  /// The frozen layer.
  var base: any LinearLayer { get }
  /// Whether the addition can be absorbed into one weight: only if it is the same linear map for every row.
  var isMergeable: Bool { get }
}

extension Adapter {
  /// Rows of the weight.
  public var outputSize: Int { base.outputSize }
  /// Columns of the weight.
  public var inputSize: Int { base.inputSize }
  /// Gives mapped pages of the frozen layer back to the system.
  public func releasePages() { base.releasePages() }
}

/// Elements of the input of an adapter set to 0 at random while it is trained.
///
/// Source: Srivastava et al., "Dropout", JMLR 15, 2014.
public struct AdapterDropout: Sendable, Equatable {
  /// The probability of an element to be dropped, in 0..<1.
  public let rate: Float
  /// What elements are dropped: the same key drops the same ones.
  public let key: UInt64

  /// - Parameter rate: In 0..<1.
  public init(rate: Float, key: UInt64) { (self.rate, self.key) = (rate, key) }

  /// The input of the adapter; the frozen layer sees all of it.
  func callAsFunction(_ x: Tensor) -> Tensor { x.dropout(rate: rate, key: key) }
}

extension TokenContext {
  /// The rows of an addition with zeros where no adapter acts, as partial-modality inference asks.
  func adapted(_ rows: Tensor) -> Tensor {
    guard let adaptedRows else { return rows }
    return rows * Tensor(adaptedRows.map { $0 ? 1 : 0 }, shape: [adaptedRows.count, 1])
  }
}
