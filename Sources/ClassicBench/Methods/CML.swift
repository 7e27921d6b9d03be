import TensorCore

/// Calibrated confidence: a prediction should not become surer when a modality is taken away.
///
///     z_0 = z, and z_k+1 = z_k without the block of a modality, M − 1 of them in a random order
///     Conf_i(z) = max_c softmax(z_i)[c]
///     L = 1/M Σ_k CE(z_k, y) + λ Σ_k mean_i max(0, Conf_i(z_k+1) − Conf_i(z_k))
///
/// A modality is taken away by setting its feature to 0; the whole bias stays.
///
/// Source: Ma et al., "Calibrating Multimodal Learning", ICML 2023, arXiv:2306.01265, equations 5 and 6; the chain of
/// removals and the classification loss of every part are of the benchmark.
///
/// Departs from the benchmark's code, which bounds the difference summed over the batch, so that violations of some
/// samples are made up by others: `boundsBatchMean` does so.
final class CML: ImbalanceMethod {
  static let id = "cml"
  static let name = "CML"
  static let stage = MethodStage.objective
  static let hooks: Set<MethodHook> = [.losses]
  static let source = "Ma et al., ICML 2023, arXiv:2306.01265"

  struct Options {
    /// λ, at least 0.
    var weight = 0.1
    /// Whether the mean over the batch is bounded below by 0, not each sample: a defect of released code.
    var boundsBatchMean = false
  }

  let options: Options

  init(_ options: Options = Options()) { self.options = options }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] {
    let model = context.model
    let order = Array(context.random.order(of: model.count, for: "cml order").prefix(model.count - 1))
    var features = forward.allFeatures
    var chain = [forward.fused]
    for removed in order {
      features[removed] = Tensor(zeros: features[removed].shape)
      chain.append(model.head.fused(features, model.names, forward.parameters))
    }
    let confidences = chain.map { $0.softmax().rowMaxima() }
    let hinges = chain.indices.dropLast().map { k in confidences[k + 1] - confidences[k] }
    let bounded = hinges.map { options.boundsBatchMean ? $0.mean().relu() : $0.relu() }
    context.note("chain_z", tensor: Tensor.concatenated(chain))
    context.note("confidence", tensor: Tensor.concatenated(confidences))
    context.note("hinge", tensor: Tensor.concatenated(hinges.map { $0.relu() }))
    let losses = chain.map { forward.meanCrossEntropy($0) }
    let sum = losses.dropFirst().reduce(losses[0]) { $0 + $1 }
    let penalties = bounded.map { $0.mean() }
    return [
      LossTerm(name: "cls", value: (1 / Float(model.count)) * sum),
      LossTerm(
        name: "hinge", value: penalties.dropFirst().reduce(penalties[0]) { $0 + $1 }, weight: options.weight),
    ]
  }
}
