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
