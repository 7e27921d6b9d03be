import Foundation
import TensorCore
import TokenModel

/// Parameters of the models of TokenModel, which take their tensors by name from a source.
enum TowerWeights {
  /// Every tensor that a model asks for when it is made, in order, with what it starts with at random: matrices, tables
  /// and class rows from a normal distribution of deviation 0.02, biases 0, weights of norms 1.
  ///
  /// Source: the `_init_weights` of ViT and BERT in transformers 5.23.
  ///
  /// - Parameter make: Makes the model from a source.
  static func drawn(_ make: (WeightSource) throws -> Void) rethrows -> [ParameterShape] {
    var shapes: [ParameterShape] = []
    try make(
      WeightSource(in: "an encoder that starts at random") { name, shape in
        shapes.append(ParameterShape(name: name, shape: shape, start: start(name, shape)))
        return Tensor(zeros: shape)
      })
    return shapes
  }

  private static func start(_ name: String, _ shape: [Int]) -> ParameterShape.Start {
    if name.hasSuffix("bias") { return .constant(0) }
    return shape.count == 1 ? .constant(1) : .normal(mean: 0, deviation: 0.02)
  }

  /// The same with the values of a folder of Hugging Face.
  ///
  /// - Throws: What making the model throws.
  static func stored(
    _ tensors: ShardedTensors, _ layout: KeyLayout, _ make: (WeightSource) throws -> Void
  ) throws -> [ParameterShape] {
    var found: [(name: String, shape: [Int])] = []
    let source = WeightSource(tensors)
    try make(
      source.replacing { name, shape in
        found.append((name, shape))
        return nil
      })
    let translated = source.with(layout)
    return try found.map { name, shape in
      // A model that is made from memory knows the names of today only.
      let today = name.replacing("LayerNorm.gamma", with: "LayerNorm.weight")
        .replacing("LayerNorm.beta", with: "LayerNorm.bias")
      return ParameterShape(
        name: today, shape: shape, start: .values(try translated.tensor(name, shape: shape)))
    }
  }

  /// A model over the parameters of a pass.
  static func model<Model>(_ pass: EncoderPass, _ make: (WeightSource) throws -> Model) -> Model {
    do {
      return try make(WeightSource(in: "the encoder") { name, _ in pass[name] })
    } catch {
      // The same names and shapes were asked for when the encoder was made.
      preconditionFailure("the parameters of an encoder do not fit it: \(error)")
    }
  }
}
