/// A linear layer of a model that is being put together: where it stands and what it is called.
public struct LinearSite: Sendable, Equatable {
  /// The family's own name, such as `model.layers.0.self_attn.q_proj`.
  public let name: String
  /// How the family's own names translate into those of files and modules.
  public let layout: KeyLayout
  /// Columns of the weight.
  public let inputSize: Int
  /// Rows of the weight.
  public let outputSize: Int
  /// Whether the layer has a bias.
  public let hasBias: Bool

  init(name: String, layout: KeyLayout, inputSize: Int, outputSize: Int, hasBias: Bool) {
    (self.name, self.layout) = (name, layout)
    (self.inputSize, self.outputSize, self.hasBias) = (inputSize, outputSize, hasBias)
  }

  /// What the model classes of transformers call it.
  public var moduleName: String { layout.moduleName(of: name) }
}
