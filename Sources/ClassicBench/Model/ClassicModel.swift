import Foundation
import RunKit
import TensorCore
import TokenModel

/// One encoder for each modality and a head on top; a value without parameters of its own.
///
/// Parameters are grouped by module through their names: `encoder.<modality>.…`, `head.…` or `shared.…`,
/// `unihead.<modality>.…` for classifiers of one modality, and whatever a method adds under names of its own.
struct ClassicModel: Sendable {
  /// The modalities, in the order of the head's blocks.
  let modalities: [Modality]
  /// An encoder for each modality.
  let encoders: [any Encoder]
  /// C.
  let classCount: Int
  var head = FusionHead.concatenation
  /// Whether the fused head exists; runs of single modalities need none.
  var hasHead = true
  /// Whether each modality has a linear classifier of its own beside the head.
  var hasUnimodalHeads = false
  /// What a method adds.
  var extra: [ParameterShape] = []
  /// Values that extra parameters start with, by name; the others start at random.
  var extraStart: [String: Float] = [:]

  /// M.
  var count: Int { modalities.count }
  /// The names of the modalities.
  var names: [String] { modalities.map(\.rawValue) }
  /// d_m.
  var featureSizes: [Int] { encoders.map(\.featureSize) }

  /// Every parameter with its full name, in order.
  var parameterShapes: [ParameterShape] {
    var shapes: [ParameterShape] = []
    for (name, encoder) in zip(names, encoders) {
      shapes += encoder.parameters.map { $0.under("encoder.\(name)") }
    }
    if hasHead { shapes += head.parameters(names: names, sizes: featureSizes, classes: classCount) }
    if hasUnimodalHeads {
      for (name, size) in zip(names, featureSizes) {
        shapes.append(ParameterShape(name: "unihead.\(name).weight", shape: [classCount, size], fanIn: size))
        shapes.append(ParameterShape(name: "unihead.\(name).bias", shape: [classCount], fanIn: size))
      }
    }
    return shapes + extra
  }

  /// Every buffer of an encoder with its full name, in order: no parameters, but saved and loaded with them.
  var bufferShapes: [ParameterShape] {
    zip(names, encoders).flatMap { name, encoder in encoder.buffers.map { $0.under("encoder.\(name)") } }
  }

  /// The names of the buffers of one encoder, in order.
  func bufferNames(_ index: Int) -> [String] {
    encoders[index].buffers.map { "encoder.\(names[index]).\($0.name)" }
  }

  /// The names of the parameters of one encoder, in order.
  func encoderNames(_ index: Int) -> [String] {
    encoders[index].parameters.map { "encoder.\(names[index]).\($0.name)" }
  }

  /// The weight and bias of the last layer of one encoder.
  func lastLayerNames(_ index: Int) -> [String] { Array(encoderNames(index).suffix(2)) }

  /// Which encoder a parameter belongs to; nil for heads and others.
  func encoderIndex(of name: String) -> Int? {
    names.indices.first { name.hasPrefix("encoder.\(names[$0]).") }
  }

  /// h_m of a batch, `[samples, d_m]`; a training pass if the parameters are those of one.
  func features(_ index: Int, of input: Tensor, _ parameters: Parameters) -> Tensor {
    encoders[index].features(of: input, EncoderPass(parameters, under: "encoder.\(names[index])."))
  }

  /// The logits of a modality's own classifier.
  func unimodalHead(_ index: Int, of feature: Tensor, _ parameters: Parameters) -> Tensor {
    let name = "unihead.\(names[index])"
    return LinearWeight(parameters[name + ".weight"]).forward(feature, bias: parameters[name + ".bias"])
  }

  /// Start values of parameters and buffers, each drawn from a stream of its own, so that two methods with the same seed
  /// start with the same encoders.
  func initialParameters(seed: Int) -> [(name: String, value: Tensor)] {
    (parameterShapes + bufferShapes).map { shape in
      let count = shape.shape.reduce(1, *)
      if let value = extraStart[shape.name] {
        return (shape.name, Tensor(repeating: value, shape: shape.shape))
      }
      var stream = RandomStream(seed: seed, purpose: "initial " + shape.name)
      var bound = 1 / Float(shape.fanIn).squareRoot()
      switch shape.start {
      case .evenly: break
      case .within(let stated): bound = stated
      case .normal(let mean, let deviation):
        let values = (0..<count).map { _ in Float(mean + deviation * stream.normal()) }
        return (shape.name, Tensor(values, shape: shape.shape))
      case .constant(let value): return (shape.name, Tensor(repeating: value, shape: shape.shape))
      case .values(let tensor): return (shape.name, tensor)
      }
      let values = (0..<count).map { _ in (2 * stream.uniformFloat() - 1) * bound }
      return (shape.name, Tensor(values, shape: shape.shape))
    }
  }
}
