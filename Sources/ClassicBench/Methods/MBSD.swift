import TensorCore

/// Self-distillation: for each sample the modality that is surest of the right class teaches the others.
///
///     strong(i) = argmax_m p_m,i[y_i]
///     w_m,i = [some modality is right] (p_strong,i[y_i] − p_m,i[y_i])
///     KL_m,i = KL(p_strong,i ‖ p_m,i),   RS_m,i = |r_m,i − r_strong,i|² / size,   teacher's side and w constant
///     L = CE(z) + Σ_m CE(u_m) + a mean_i 1/(M−1) Σ_m w KL + b mean_i 1/(M−1) Σ_m w RS
///
/// r is the feature scaled to length 1, or the logits.
///
/// Source: Liu et al., "Multimodal Pre-Training with Self-Distillation for Product Understanding in E-Commerce", WSDM
/// 2023. Its own losses are of pre-training; this is the reconstruction of the benchmark, with a divergence in place of
/// the released code's product of two scalars.
final class MBSD: ImbalanceMethod {
  static let id = "mbsd"
  static let name = "MBSD"
  static let stage = MethodStage.objective
  static let hooks: Set<MethodHook> = [.losses]
  static let source = "Liu et al., WSDM 2023"
  static let isReconstruction = true

  /// What the representation term compares.
  enum Representation: String, CaseIterable {
    case features, logits
  }

  struct Options {
    /// a.
    var divergenceWeight = 1.0
    /// b.
    var representationWeight = 1.0
    var representation = Representation.features
  }

  let options: Options

  init(_ options: Options = Options()) { self.options = options }

  func refusal(of model: ClassicModel) -> String? {
    options.representation == .features && Set(model.featureSizes).count > 1
      ? "MBSD compares features of one size, found \(model.featureSizes)" : nil
  }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] {
    let (count, labels) = (context.model.count, forward.labels)
    let logits = (0..<count).map(forward.unimodal)
    let roles = Roles(logits.map(\.detached), labels)
    context.note("true_prob", tensor: roles.table(roles.probabilities))
    context.note("weight", tensor: roles.table(roles.weights))
    context.note("strong", roles.strong.map(Double.init))
    let representations =
      options.representation == .logits ? logits : (0..<count).map { forward.feature($0).rowsNormalized() }
    let teacherLogits = Self.select(logits.map(\.detached), roles.strong)
    let teacherRepresentation = Self.select(representations.map(\.detached), roles.strong)
    var (divergences, distances): ([Tensor], [Tensor]) = ([], [])
    for m in 0..<count {
      let isStudent = Tensor(roles.strong.map { $0 == m ? 0 : 1 }, shape: [labels.count])
      divergences.append(divergence(of: logits[m], from: teacherLogits) * isStudent)
      let difference = representations[m] - teacherRepresentation
      distances.append((1 / Float(difference.columns)) * (difference * difference).rowSums() * isStudent)
    }
    context.note("kl", tensor: Self.sideBySide(divergences))
    context.note("rs", tensor: Self.sideBySide(distances))
    func weighted(_ values: [Tensor]) -> Tensor {
      let parts = values.indices.map { m in
        values[m] * Tensor(roles.weights[m].map { Float($0) }, shape: [labels.count])
      }
      return (1 / Float(count - 1)) * parts.dropFirst().reduce(parts[0]) { $0 + $1 }.mean()
    }
    return [LossTerm(name: "multi", value: forward.meanCrossEntropy(forward.fused))]
      + context.model.names.enumerated().map {
        LossTerm(name: $1, value: forward.meanCrossEntropy(logits[$0]))
      } + [
        LossTerm(name: "kl", value: weighted(divergences), weight: options.divergenceWeight),
        LossTerm(name: "rs", value: weighted(distances), weight: options.representationWeight),
      ]
  }

  /// Row i of the tensor that `choice[i]` names.
  private static func select(_ tensors: [Tensor], _ choice: [Int]) -> Tensor {
    let rows = choice.count
    return Tensor.concatenated(tensors).gatherRows(choice.indices.map { choice[$0] * rows + $0 })
  }

  private static func sideBySide(_ columns: [Tensor]) -> Tensor {
    Tensor.concatenatedColumns(columns.map { $0.reshaped(to: [$0.count, 1]) })
  }

  /// Who teaches whom.
  private struct Roles {
    /// p_m,i[y_i], `[modality][sample]`.
    let probabilities: [[Double]]
    /// strong(i).
    let strong: [Int]
    /// w_m,i, `[modality][sample]`.
    let weights: [[Double]]

    init(_ logits: [Tensor], _ labels: [Int]) {
      let probabilities = DiscrepancyRatio.trueClassProbabilities(logits, labels)
      let predictions = logits.map(Classification.predictions)
      var strong: [Int] = []
      for i in labels.indices {
        strong.append(probabilities.indices.max { probabilities[$0][i] < probabilities[$1][i] } ?? 0)
      }
      weights = probabilities.indices.map { m in
        labels.indices.map { i in
          guard predictions.contains(where: { $0[i] == labels[i] }) else { return 0 }
          return probabilities[strong[i]][i] - probabilities[m][i]
        }
      }
      (self.probabilities, self.strong) = (probabilities, strong)
    }

    /// Columns side by side, `[samples, modalities]`.
    func table(_ columns: [[Double]]) -> Tensor {
      Tensor.concatenatedColumns(columns.map { Tensor(column: $0) })
    }
  }
}
