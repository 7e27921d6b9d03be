import Foundation
import TensorCore
import TokenModel

/// Attention that has come to favour a modality is turned back: between epochs the query of the class token is rotated.
///
/// The head is a transformer whose class token q attends to the tokens of all modalities. At the end of an epoch, with the
/// mean keys k̂ᵐ over its samples,
///
///     cᵐ = E cos(q, k̂ᵐ),   imbalance = c⁰ − c¹, for more than two modalities max c − min c
///     αᵐ = softmax(−2 ρ c)ₘ,   y = Σ αᵐ E k̂ᵐ / |E k̂ᵐ|
///     R ← R_new R,   R_new: E q → y, if |imbalance| ≥ β and fewer than `limit` rotations so far
///
/// and from then on the head sees R q, in training and in evaluation. `RollingQuery` has the rotation and its state.
///
/// Source: Ni et al., "RollingQ: Reviving the Cooperation Dynamics in Multimodal Transformer", ICML 2025, arXiv:2506.11465;
/// the weights for more than two modalities are this project's extension.
final class RollingQ: ImbalanceMethod {
  static let id = "rollingq"
  static let name = "RollingQ"
  static let stage = MethodStage.forward
  static let hooks: Set<MethodHook> = [.head, .features, .evaluation]
  static let source = "Ni et al., ICML 2025, arXiv:2506.11465"

  let options: RollingQueryOptions
  /// That of the head's layer; nil before the first step.
  private(set) var rolling: RollingQueries?
  /// Why the state that was given cannot be used; thrown at the next end of an epoch.
  private var stateProblem: (any Error)?

  init(_ options: RollingQueryOptions = RollingQueryOptions()) { self.options = options }

  func build(_ model: inout ClassicModel) {
    model.head = .transformer(positions: model.encoders.map(\.positions))
  }

  func refusal(of model: ClassicModel) -> String? {
    model.featureSizes[0] > 1 ? nil : "a query of one component has no rotation"
  }

  func fitStart(_ model: ClassicModel, _ parameters: ParameterSet, samples: Int) {
    let width = model.featureSizes[0]
    guard
      let query = try? RollingQuery(
        headCount: 1, headSize: width, modalities: model.modalities, options: options)
    else { preconditionFailure("modalities were counted before") }
    rolling = RollingQueries(layers: [0], query)
  }

  /// Rotates the query, and notes queries and keys of the batch for the end of the epoch.
  func features(_ forward: Forward, _ context: StepContext) {
    let model = context.model
    let result = model.head.transformed(
      forward.allFeatures, model.names, forward.parameters, rolling: rolling)
    rolling?.observe(result)
    context.note("query", tensor: result.layers[0].classQueries)
    context.note("key", tensor: result.layers[0].keys)
    if let query = rolling?[0] {
      context.note("cosine", query.balance.cosines(head: 0, options.balance))
      context.note("rotations", [Double(query.counts[0])])
    }
    forward.fusedOverride = result.logits
  }

  func evaluationLogits(
    _ model: ClassicModel, _ features: [Tensor], present: [Bool], _ parameters: Parameters
  ) -> Tensor {
    model.head.transformed(features, model.names, parameters, rolling: rolling).logits
  }

  func evaluationUnimodal(
    _ model: ClassicModel, _ features: [Tensor], _ index: Int, _ parameters: Parameters
  ) -> Tensor {
    let alone = features.indices.map { $0 == index ? features[$0] : Tensor(zeros: features[$0].shape) }
    return evaluationLogits(model, alone, present: features.indices.map { $0 == index }, parameters)
  }

  func epochEnd(_ epoch: Int, _ services: any TrainingServices) throws {
    if let stateProblem { throw stateProblem }
    _ = rolling?.endEpoch(epoch)
  }

  // MARK: State

  var state: [(name: String, value: Tensor)] {
    get { buffers.map { ($0.name, ExactNumbers.tensor(Self.numbers($0))) } }
    set {
      let given = Dictionary(uniqueKeysWithValues: newValue.map { ($0.name, $0.value) })
      let shapes = Dictionary(uniqueKeysWithValues: buffers.map { ($0.name, $0) })
      let source = BufferSource(in: "the state of RollingQ") { name in
        guard let shape = shapes[name], let tensor = given[name] else {
          throw RollingQueryError.impossibleBuffer(
            path: "the state of RollingQ", tensor: name, reason: "is missing")
        }
        return try Self.stored(ExactNumbers.values(tensor), like: shape)
      }
      do { try rolling?.restoreBuffers(from: source) } catch { stateProblem = error }
    }
  }

  /// Rotation, shift, count and what was seen since the epoch began.
  private var buffers: [StoredTensor] {
    guard let rolling else { return [] }
    guard let buffers = try? rolling.storedBuffers() else {
      preconditionFailure("numbers in memory can always be stored")
    }
    return buffers
  }

  private static func isWhole(_ buffer: StoredTensor) -> Bool { buffer.elementType == .i64 }

  private static func numbers(_ buffer: StoredTensor) -> [Double] {
    let numbers = isWhole(buffer) ? try? buffer.integers().map(Double.init) : try? buffer.doubles()
    guard let numbers else { preconditionFailure("a buffer is made of Float64 or Int64") }
    return numbers
  }

  private static func stored(_ numbers: [Double], like buffer: StoredTensor) throws -> StoredTensor {
    guard isWhole(buffer) else {
      return try StoredTensor(name: buffer.name, shape: buffer.shape, doubles: numbers)
    }
    let whole = try numbers.map { number in
      guard let integer = Int(exactly: number) else {
        throw RollingQueryError.impossibleBuffer(
          path: "the state of RollingQ", tensor: buffer.name,
          reason: "found \(number), expected whole numbers")
      }
      return integer
    }
    return try StoredTensor(name: buffer.name, shape: buffer.shape, integers: whole)
  }
}
