import RunKit
import TensorCore
import TokenModel

/// Every method of the benchmark, and how its options are written.
public enum MethodCatalog {
  /// What a list of methods shows.
  public struct Entry: Sendable, Equatable {
    /// The name in experiments.
    public let id: String
    /// The name in print.
    public let name: String
    /// The part of training that changes.
    public let stage: MethodStage
    /// Authors, venue, year, arXiv id.
    public let source: String
    /// Whether the paper's own formula was not recovered.
    public let isReconstruction: Bool
  }

  /// Every method, in the order of stages.
  public static var entries: [Entry] {
    types.map {
      Entry(
        id: $0.id, name: $0.name, stage: $0.stage, source: $0.source, isReconstruction: $0.isReconstruction)
    }
  }

  /// How methods are composed, in lines for a terminal.
  public static let compositionText = """
    Methods of different stages compose: {"id": "opm+ogm-ge", "ogm-ge": {"alpha": 0.8}}
    in an experiment is both, the options of each under its name. Refused are two of
    one stage, two with a loss, head, sub-step, gradient mode or evaluation of their
    own, parts that need a fused head beside one without, and parts that compare
    modalities in a step beside one that takes them in turns.

    """

  /// The methods of a name: one, or the parts of a composed one; nil if one of them is unknown.
  private static func parts(of id: String) -> [any ImbalanceMethod.Type]? {
    let names = id.split(separator: "+", omittingEmptySubsequences: false)
    let found = names.compactMap { name in types.first { $0.id == name } }
    return found.count == names.count ? found : nil
  }

  /// Whether a method, or a part of a composed one, is a reconstruction.
  static func isReconstruction(_ id: String) -> Bool {
    parts(of: id)?.contains { $0.isReconstruction } ?? false
  }

  /// The stage of a method; nil for one that is not known.
  static func stage(_ id: String) -> MethodStage? {
    parts(of: id).map { $0.count == 1 ? $0[0].stage : .composed }
  }

  static var types: [any ImbalanceMethod.Type] {
    [
      Joint.self, Unimodal.self, UnimodalEnsemble.self, Uniform.self, ModalityValuation.self, OPM.self,
      Greedy.self, AMCo.self, MLA.self, MMCosine.self, UMT.self, MBSD.self, CML.self, MMPareto.self,
      GBlending.self, LFM.self, UDI.self, OGM.self, OGMGE.self, AGM.self, PMR.self, Relearning.self,
      ReconBoost.self, InfoReg.self, MLB.self, RollingQ.self,
    ]
  }

  /// What a method is made from when a run begins.
  struct Ingredients {
    /// Encoders that were trained on one modality each, for methods that learn from teachers.
    var teachers: [String: Tensor] = [:]
  }

  /// A method as an experiment asks for it.
  struct Choice {
    let id: String
    /// Of the results: the name, or what the experiment calls it.
    let label: String
    /// Whether unimodal runs of the same seed must come first.
    let needsTeachers: Bool
    /// Makes the method anew for each run.
    let make: (Ingredients) -> any ImbalanceMethod
  }

  /// Reads one method with its options.
  ///
  /// - Throws: `ExperimentError`, `BenchError.unknownMethod`.
  static func read(_ reader: ExperimentReader, modalities: [String]) throws -> Choice {
    let id = try reader.string("id")
    let label = try reader.string("label", default: id)
    if id.contains("+") { return try composed(id, label: label, reader, modalities) }
    let make = try factory(id, reader, modalities)
    return Choice(id: id, label: label, needsTeachers: id == UMT.id, make: make)
  }

  /// Parts with `+` between; the options of each are under its name.
  private static func composed(
    _ id: String, label: String, _ reader: ExperimentReader, _ modalities: [String]
  ) throws -> Choice {
    let names = id.split(separator: "+", omittingEmptySubsequences: false).map(String.init)
    if let known = parts(of: id), let reason = ComposedMethod.conflict(known) {
      throw BenchError.refused(method: id, reason: reason)
    }
    let makers = try names.map { try factory($0, reader.section($0), modalities) }
    return Choice(id: id, label: label, needsTeachers: names.contains(UMT.id)) { ingredients in
      ComposedMethod(makers.map { $0(ingredients) })
    }
  }

  private static func factory(
    _ id: String, _ reader: ExperimentReader, _ modalities: [String]
  ) throws -> (Ingredients) -> any ImbalanceMethod {
    switch id {
    case Joint.id: return { _ in Joint() }
    case UnimodalEnsemble.id: return { _ in UnimodalEnsemble() }
    case Uniform.id: return { _ in Uniform() }
    case Unimodal.id:
      let name = try reader.string("modality")
      guard let index = modalities.firstIndex(of: name) else {
        throw reader.impossible(
          "modality", found: name.inQuotes, expected: "one of \(modalities.joined(separator: ", "))")
      }
      return { _ in Unimodal(modality: index) }
    case OGM.id, OGMGE.id: return try ogm(reader, withNoise: id == OGMGE.id)
    case OPM.id: return try opm(reader)
    case Greedy.id: return try greedy(reader)
    case AMCo.id: return try amco(reader)
    case MLA.id:
      var options = MLA.Options()
      options.reset = try reader.choice("projection_reset", default: options.reset)
      return { [options] _ in MLA(options) }
    case MMCosine.id:
      let scale = try reader.number("scale", in: 0.1...1000, default: 10)
      return { _ in MMCosine(scale: scale) }
    case UMT.id:
      let weight = try reader.number("weight", in: 0...1e6, default: 0.5)
      return { UMT(weight: weight, teachers: $0.teachers) }
    default: return try other(id, reader)
    }
  }

  private static func other(
    _ id: String, _ reader: ExperimentReader
  ) throws -> (Ingredients) -> any ImbalanceMethod {
    switch id {
    case MBSD.id:
      var options = MBSD.Options()
      options.divergenceWeight = try reader.number("divergence_weight", in: 0...1e6, default: 1)
      options.representationWeight = try reader.number("representation_weight", in: 0...1e6, default: 1)
      options.representation = try reader.choice("representation", default: options.representation)
      return { [options] _ in MBSD(options) }
    case CML.id:
      var options = CML.Options()
      options.weight = try reader.number("weight", in: 0...1e6, default: options.weight)
      options.boundsBatchMean = try reader.bool("compat", default: false)
      return { [options] _ in CML(options) }
    case MMPareto.id:
      var options = MMPareto.Options()
      options.gamma = try reader.number("gamma", in: 0.01...100, default: options.gamma)
      options.rescaling = try reader.choice("rescaling", default: options.rescaling)
      return { [options] _ in MMPareto(options) }
    case GBlending.id:
      var options = GBlending.Options()
      options.superEpoch = try reader.optionalInteger("super_epoch", in: 1...100_000)
      options.soloEpochs = try reader.integer("solo_epochs", in: 1...100_000, default: options.soloEpochs)
      options.strength = try reader.number("strength", in: 0...10, default: options.strength)
      return { [options] _ in GBlending(options) }
    case LFM.id: return try lfm(reader)
    case UDI.id:
      var options = UDI.Options()
      options.complementarity = try reader.choice("complementarity", default: options.complementarity)
      options.soloEpochs = try reader.integer("solo_epochs", in: 1...100_000, default: options.soloEpochs)
      options.smoothing = try reader.number("smoothing", in: 0...1, default: options.smoothing)
      return { [options] _ in UDI(options) }
    case AGM.id:
      var options = AGM.Options()
      options.alpha = try reader.number("alpha", in: 0...100, default: options.alpha)
      options.cap = try reader.optionalNumber("cap", in: 0...100)
      options.compat = try reader.bool("compat", default: false)
      return { [options] _ in AGM(options) }
    case PMR.id: return try pmr(reader)
    case Relearning.id:
      var options = Relearning.Options()
      options.lambda = try reader.number("lambda", in: 0...1000, default: options.lambda)
      options.interval = try reader.integer("interval", in: 1...100_000, default: options.interval)
      options.limit = try reader.integer("limit", in: 0...1000, default: options.limit)
      return { [options] _ in Relearning(options) }
    default: return try last(id, reader)
    }
  }

  private static func last(
    _ id: String, _ reader: ExperimentReader
  ) throws -> (Ingredients) -> any ImbalanceMethod {
    switch id {
    case ReconBoost.id: return try reconBoost(reader)
    case ModalityValuation.id: return try valuation(reader)
    case InfoReg.id:
      var options = InfoReg.Options()
      options.beta = try reader.number("beta", in: 0...100, default: options.beta)
      options.threshold = try reader.number("threshold", in: -100...100, default: options.threshold)
      return { [options] _ in InfoReg(options) }
    case RollingQ.id:
      var options = RollingQueryOptions()
      options.sharpness = try reader.number("sharpness", in: 0...1000, default: options.sharpness)
      options.threshold = try reader.number("threshold", in: 0...2, default: options.threshold)
      options.limit = try reader.integer("limit", in: 0...100_000, default: options.limit)
      options.rotation = try reader.choice("rotation", default: options.rotation)
      options.balance = try reader.choice("balance", default: options.balance)
      options.anchor = try reader.choice("anchor", default: options.anchor)
      options.seed = try reader.integer("rotation_seed", in: 0...Int.max - 1, default: options.seed)
      return { [options] _ in RollingQ(options) }
    case MLB.id:
      var options = MLB.Options()
      options.alpha = try reader.number("alpha", in: 0...100, default: options.alpha)
      options.largestFactor = try reader.optionalNumber("largest_factor", in: 1...100)
      return { [options] _ in MLB(options) }
    default:
      let known = types.map { $0.id }
      throw BenchError.unknownMethod(
        path: reader.path, id: id, nearest: NameSuggestion.nearest(to: id, in: known), known: known)
    }
  }

  private static func ogm(
    _ reader: ExperimentReader, withNoise: Bool
  ) throws -> (Ingredients) -> any ImbalanceMethod {
    var options = OGM.Options()
    options.alpha = try reader.number("alpha", in: 0...100, default: options.alpha)
    options.coefficient = try reader.choice("coefficient", default: options.coefficient)
    options.matricesOnly = try reader.bool("matrices_only", default: false)
    let first = try reader.integer("first_epoch", in: 0...1_000_000, default: 0)
    let last = try reader.integer("last_epoch", in: 0...1_000_000, default: 1_000_000)
    guard first <= last else {
      throw reader.impossible("last_epoch", found: "\(last)", expected: "at least first_epoch, \(first)")
    }
    options.epochs = first...last
    return { [options] _ in withNoise ? OGMGE(options) : OGM(options) }
  }

  private static func opm(_ reader: ExperimentReader) throws -> (Ingredients) -> any ImbalanceMethod {
    var options = OPM.Options()
    options.baseRate = try reader.number("base_rate", in: 0...1, default: options.baseRate)
    options.lambda = try reader.number("lambda", in: 0...100, default: options.lambda)
    options.executionShare = try reader.number("execution_share", in: 0...1, default: options.executionShare)
    options.warmupEpochs = try reader.integer("warmup_epochs", in: 0...100_000, default: options.warmupEpochs)
    options.rescales = try reader.bool("rescales", default: options.rescales)
    return { [options] _ in OPM(options) }
  }

  private static func greedy(_ reader: ExperimentReader) throws -> (Ingredients) -> any ImbalanceMethod {
    var options = Greedy.Options()
    options.threshold = try reader.number("threshold", in: 0...100, default: options.threshold)
    options.window = try reader.integer("window", in: 1...100_000, default: options.window)
    options.ratio = try reader.integer("ratio", in: 1...1000, default: options.ratio)
    options.regularSteps = try reader.integer(
      "regular_steps", in: 1...1_000_000, default: options.regularSteps)
    return { [options] _ in Greedy(options) }
  }

  private static func amco(_ reader: ExperimentReader) throws -> (Ingredients) -> any ImbalanceMethod {
    var options = AMCo.Options()
    options.largestRate = try reader.number("largest_rate", in: 0...0.99, default: options.largestRate)
    options.rampEpochs = try reader.number("ramp_epochs", in: 0.001...100_000, default: options.rampEpochs)
    options.threshold = try reader.number("threshold", in: 0...1, default: options.threshold)
    options.rescales = try reader.bool("rescales", default: options.rescales)
    return { [options] _ in AMCo(options) }
  }

  private static func lfm(_ reader: ExperimentReader) throws -> (Ingredients) -> any ImbalanceMethod {
    var options = LFM.Options()
    options.matching = try reader.choice("matching", default: options.matching)
    options.schedule = try reader.choice("schedule", default: options.schedule)
    options.fixedWeight = try reader.number("fixed_weight", in: 0...1, default: options.fixedWeight)
    options.temperature = try reader.number("temperature", in: 0.001...100, default: options.temperature)
    options.weightRate = try reader.number("weight_rate", in: 0...1e6, default: options.weightRate)
    options.bilevelSamples = try reader.integer(
      "bilevel_samples", in: 1...100_000, default: options.bilevelSamples)
    return { [options] _ in LFM(options) }
  }

  private static func pmr(_ reader: ExperimentReader) throws -> (Ingredients) -> any ImbalanceMethod {
    var options = PMR.Options()
    options.alpha = try reader.number("alpha", in: 0...1000, default: options.alpha)
    options.entropyWeight = try reader.number("entropy_weight", in: 0...1000, default: options.entropyWeight)
    options.entropyEpochs = try reader.integer(
      "entropy_epochs", in: 0...100_000, default: options.entropyEpochs)
    options.oldShare = try reader.number("old_share", in: 0...1, default: options.oldShare)
    options.subsetShare = try reader.number("subset_share", in: 0.001...1, default: options.subsetShare)
    options.compat = try reader.bool("compat", default: false)
    return { [options] _ in PMR(options) }
  }

  private static func reconBoost(_ reader: ExperimentReader) throws -> (Ingredients) -> any ImbalanceMethod {
    var options = ReconBoost.Options()
    options.boostWeight = try reader.number("boost_weight", in: 0...1000, default: options.boostWeight)
    options.reconcileWeight = try reader.number(
      "reconcile_weight", in: 0...1000, default: options.reconcileWeight)
    options.memoryWeight = try reader.number("memory_weight", in: 0...1000, default: options.memoryWeight)
    options.initialRate = try reader.number("initial_rate", in: 0.001...1000, default: options.initialRate)
    options.firstEpochs = try reader.integer("first_epochs", in: 1...100_000, default: options.firstEpochs)
    options.secondEpochs = try reader.integer("second_epochs", in: 0...100_000, default: options.secondEpochs)
    options.compat = try reader.bool("compat", default: false)
    guard options.reconcileWeight <= options.boostWeight else {
      throw reader.impossible(
        "reconcile_weight", found: "\(options.reconcileWeight)",
        expected: "at most boost_weight, \(options.boostWeight)")
    }
    return { [options] _ in ReconBoost(options) }
  }

  private static func valuation(_ reader: ExperimentReader) throws -> (Ingredients) -> any ImbalanceMethod {
    var options = ModalityValuation.Options()
    options.level = try reader.choice("level", default: options.level)
    options.fraction = try reader.choice("fraction", default: options.fraction)
    options.alpha = try reader.number("alpha", in: 0...100, default: options.alpha)
    options.subsetShare = try reader.number("subset_share", in: 0.001...1, default: options.subsetShare)
    options.warmupEpochs = try reader.integer("warmup_epochs", in: 0...100_000, default: options.warmupEpochs)
    return { [options] _ in ModalityValuation(options) }
  }
}
