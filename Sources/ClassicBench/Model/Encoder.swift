import TensorCore

/// A parameter or a buffer before it has values.
struct ParameterShape: Sendable {
  /// What it starts with.
  enum Start: Sendable {
    /// Uniform in ±1/√fanIn, as PyTorch has it for linear maps and convolutions.
    case evenly
    /// Uniform in ±bound.
    case within(Float)
    /// From a normal distribution.
    case normal(mean: Double, deviation: Double)
    /// The same everywhere.
    case constant(Float)
    /// What a file holds.
    case values(Tensor)
  }

  /// Its name behind that of its module.
  let name: String
  let shape: [Int]
  /// Inputs of one output.
  let fanIn: Int
  var start = Start.evenly

  init(name: String, shape: [Int], fanIn: Int = 1, start: Start = .evenly) {
    (self.name, self.shape, self.fanIn, self.start) = (name, shape, fanIn, start)
  }

  /// The same behind the name of a module.
  func under(_ module: String) -> ParameterShape {
    ParameterShape(name: module + "." + name, shape: shape, fanIn: fanIn, start: start)
  }
}

/// Turns the input of one modality into a feature vector; a value without parameters of its own.
protocol Encoder: Sendable {
  /// Its word in experiments.
  var kind: String { get }
  /// The shape of one sample's input.
  var inputShape: [Int] { get }
  /// d, the size of a feature vector.
  var featureSize: Int { get }
  /// Places of a sample that have a feature vector each; 1 for encoders that give one vector.
  var positions: Int { get }
  /// The parameters, in order; the weight and bias of the last layer come last.
  var parameters: [ParameterShape] { get }
  /// Numbers that training passes move and evaluation uses, such as the means of batch norms; they get no gradient.
  var buffers: [ParameterShape] { get }
  /// The features of a batch, `[samples · positions, featureSize]`.
  ///
  /// - Parameters:
  ///   - input: `[samples] + inputShape`.
  ///   - pass: Gives parameters and buffers by their names behind that of the encoder.
  func features(of input: Tensor, _ pass: EncoderPass) -> Tensor
}

extension Encoder {
  var kind: String { "\(Self.self)" }
  var positions: Int { 1 }
  var buffers: [ParameterShape] { [] }
}

/// What an encoder has in a pass beside its input: parameters, buffers, and in training random numbers.
struct EncoderPass {
  private let parameters: Parameters
  private let prefix: String

  /// - Parameter prefix: What the names of the encoder's parameters begin with.
  init(_ parameters: Parameters, under prefix: String) {
    (self.parameters, self.prefix) = (parameters, prefix)
  }

  /// Whether statistics are those of the batch and elements are dropped out; the buffers move then.
  var isTraining: Bool { parameters.training != nil }

  /// A parameter.
  subscript(name: String) -> Tensor { parameters[prefix + name] }

  /// A buffer as earlier passes of the step have left it, followed by no tape.
  func buffer(_ name: String) -> Tensor {
    parameters.training?.buffers[prefix + name] ?? parameters[prefix + name].detached
  }

  /// Moves a buffer, in a training pass.
  func move(_ name: String, to value: Tensor) {
    require(isTraining, "the buffer \(name) moves in training only")
    parameters.training?.move(prefix + name, to: value.detached)
  }

  /// In training x with elements as 0, each with the probability `rate`, and the others divided by 1 − rate.
  ///
  /// - Parameter place: Where in the encoder.
  func dropped(_ x: Tensor, rate: Double, _ place: String) -> Tensor {
    guard let training = parameters.training, rate > 0 else { return x }
    return x.dropout(rate: Float(rate), key: training.key("dropout \(prefix)\(place)"))
  }
}

/// The training passes of one step: where they move buffers, and what is dropped out.
///
/// Several passes of one encoder in a step move its buffers one after another, each with a draw of its own.
final class EncoderTraining {
  private let random: any StepRandom
  /// Buffers that moved, by full name.
  private(set) var buffers: [String: Tensor] = [:]
  private var counts: [String: Int] = [:]

  /// - Parameter random: Of the step.
  init(_ random: any StepRandom) { self.random = random }

  func move(_ name: String, to value: Tensor) { buffers[name] = value }

  /// A key for a kernel that draws by keys: other ones for every purpose and every time it is asked for.
  func key(_ purpose: String) -> UInt64 {
    let count = counts[purpose, default: 0]
    counts[purpose] = count + 1
    // A draw has 24 bits.
    let draws = random.uniforms(3, for: "\(purpose) \(count)")
    return draws.reduce(UInt64(0)) { $0 << 24 ^ UInt64($1 * 16_777_216) }
  }
}
