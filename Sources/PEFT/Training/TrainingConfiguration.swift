public import Foundation
public import RunKit
public import TensorCore
public import TokenModel

/// What `mmprobe train` is asked to do: a JSON file of these keys, each with the default given here unless it must be there.
///
/// | key | meaning |
/// | --- | --- |
/// | `model` | folder with `config.json` and tokenizer; weights in it are not read |
/// | `data.train`, `data.validation` | AVDigits-QA lines with their media beside them |
/// | `steps` | updates in all |
/// | `groups` (32) | runs of neighbouring questions about the same media in a step; they share the rows of the media |
/// | `accumulation` (1) | batches of so many groups whose gradients are added up in a step |
/// | `optimizer` | `name` adamw, adam or sgd; `learning_rate`, `beta1`, `beta2`, `epsilon`, `momentum`, `nesterov`, `weight_decay` (on matrices) |
/// | `schedule` | `shape` constant, step, cosine or linear; `warmup`, `floor`, `interval`, `factor` |
/// | `clipping` | `norm`, `value` |
/// | `average` | factor of the exponential moving average of the weights |
/// | `dropout`, `z_loss`, `qk_norm`, `swin_norm` | regularisation and the norms of Chameleon |
/// | `initialization` | standard deviations; see `WeightInitialization` |
/// | `layouts` | `from`, the share of the steps after which a layout is drawn for each batch; `mix` of `media` and `weight` |
/// | `needs` | for a type of question the modalities without which it carries no loss; all of its media unless given |
/// | `blanks` | shares of media and questions that are blanked once layouts are mixed |
/// | `augmentation` | see `MediaAugmentation` |
/// | `evaluation_interval`, `log_interval`, `save_interval`, `patience` | see `StepDriver.Options` |
/// | `answer_limit` (8) | the most ids of an answer in an evaluation |
///
/// Paths are relative to the file.
public struct TrainingConfiguration: Sendable {
  /// Which optimizer.
  public enum OptimizerName: String, CaseIterable, Sendable { case adamw, adam, sgd }
  /// How the learning rate changes.
  enum Shape: String, CaseIterable { case constant, step, cosine, linear }

  /// One arrangement of media before the questions.
  public struct Layout: Sendable, Equatable {
    /// The media in their order.
    public let media: [Modality]
    /// How often it is drawn, relative to the others.
    public let weight: Double
  }

  /// The folder of the model's configuration and tokenizer.
  public let model: URL
  /// The training questions.
  public let trainingData: URL
  /// The questions that choose the best weights.
  public let validationData: URL
  /// Groups of questions in a part of a step.
  public let groupCount: Int
  /// How the driver goes.
  public let driver: StepDriver.Options
  /// The update rule.
  public let rule: any UpdateRule
  /// Of matrices and tables.
  public let weightDecay: Double
  /// The probability of an element to be dropped.
  public let dropout: Double
  /// The factor of the squared log normaliser of the logits in the loss.
  public let zLoss: Double
  /// Whether only the input of every layer is kept, and the layer run twice: less memory, a quarter to a third more time.
  public let checkpointsLayers: Bool
  /// Whether queries and keys are normalised; nil as the model's configuration says.
  public let normalisesQueryAndKey: Bool
  /// Whether norms stand at outputs.
  public let normalisesOutputs: Bool
  /// How weights are drawn.
  public let initialization: WeightInitialization
  /// The share of the steps with the first layout alone.
  public let mixedFrom: Double
  /// What is drawn from then on; at least one.
  public let layouts: [Layout]
  /// For a type of question, the modalities it needs.
  public let needs: [String: Set<Modality>]
  /// The share of media of a modality that is blanked.
  public let blankMedia: [Modality: Double]
  /// The share of questions that is blanked.
  public let blankQuestions: Double
  /// How media are varied.
  public let augmentation: MediaAugmentation
  /// The most ids of an answer.
  public let answerLimit: Int
  /// Every option with its value, for `config.json` of the run.
  public let effective: JSONObject

  private static let sizeLimit = 1 << 20

  /// Reads and checks a file.
  ///
  /// - Throws: `FileError`, `ExperimentError`.
  public init(_ url: URL) throws {
    let reader = try ExperimentReader(
      path: url.path, bytes: FileReader.bytes(of: url, limit: Self.sizeLimit))
    try self.init(reader, folder: url.deletingLastPathComponent())
  }

  /// - Parameter folder: What paths are relative to.
  init(_ reader: ExperimentReader, folder: URL) throws {
    func file(_ path: String) -> URL { URL(fileURLWithPath: path, relativeTo: folder).standardizedFileURL }
    model = file(try reader.string("model"))
    let data = try reader.section("data")
    trainingData = file(try data.string("train"))
    validationData = file(try data.string("validation"))
    let steps = try reader.integer("steps", in: 1...100_000_000)
    groupCount = try reader.integer("groups", in: 1...65536, default: 32)
    let accumulation = try reader.integer("accumulation", in: 1...65536, default: 1)

    let optimizer = try reader.section("optimizer")
    let learningRate = try optimizer.number("learning_rate", in: 1e-12...100, default: 1e-3)
    weightDecay = try optimizer.number("weight_decay", in: 0...100, default: 0)
    switch try optimizer.choice("name", default: OptimizerName.adamw) {
    case .adamw:
      let adam = try Self.adam(optimizer)
      rule = AdamW(beta1: adam.beta1, beta2: adam.beta2, epsilon: adam.epsilon)
    case .adam: rule = try Self.adam(optimizer)
    case .sgd:
      let momentum = try optimizer.number("momentum", in: 0...0.999999, default: 0.9)
      let isNesterov = try optimizer.bool("nesterov", default: false)
      if isNesterov && momentum == 0 {
        throw optimizer.impossible("nesterov", found: "true", expected: "false without momentum")
      }
      rule = SGD(momentum: momentum, isNesterov: isNesterov)
    }

    var driver = StepDriver.Options(
      schedule: try Self.schedule(reader.section("schedule"), peak: learningRate, steps: steps))
    driver.accumulation = accumulation
    let clipping = try reader.section("clipping")
    driver.clipping = GradientClipping(
      norm: try clipping.optionalNumber("norm", in: 1e-12...1e12),
      value: try clipping.optionalNumber("value", in: 1e-12...1e12))
    driver.averageFactor = try reader.optionalNumber("average", in: 0...0.999999999)
    driver.logInterval = try reader.integer("log_interval", in: 1...1_000_000, default: 50)
    driver.evaluationInterval = try reader.integer("evaluation_interval", in: 1...100_000_000, default: 500)
    driver.saveInterval = try reader.integer("save_interval", in: 1...100_000_000, default: 500)
    driver.patience = try reader.optionalInteger("patience", in: 1...1_000_000)
    self.driver = driver

    dropout = try reader.number("dropout", in: 0...0.99, default: 0)
    checkpointsLayers = try reader.bool("activation_checkpointing", default: false)
    zLoss = try reader.number("z_loss", in: 0...100, default: 0)
    normalisesQueryAndKey = try reader.bool("qk_norm", default: false)
    normalisesOutputs = try reader.bool("swin_norm", default: false)
    initialization = try WeightInitialization(reader.section("initialization"))
    (mixedFrom, layouts) = try Self.layouts(reader.section("layouts"))
    needs = try Self.needs(reader.section("needs"))
    let blanks = try reader.section("blanks")
    blankMedia = [
      .image: try blanks.number("image", in: 0...1, default: 0),
      .audio: try blanks.number("audio", in: 0...1, default: 0),
    ]
    blankQuestions = try blanks.number("question", in: 0...1, default: 0)
    augmentation = try MediaAugmentation(reader.section("augmentation"))
    answerLimit = try reader.integer("answer_limit", in: 1...4096, default: 8)
    try reader.finish()
    effective = reader.effective
  }

  private static func adam(_ reader: ExperimentReader) throws(ExperimentError) -> Adam {
    Adam(
      beta1: try reader.number("beta1", in: 0...0.999999999, default: 0.9),
      beta2: try reader.number("beta2", in: 0...0.999999999, default: 0.999),
      epsilon: try reader.number("epsilon", in: 1e-30...1, default: 1e-8))
  }

  private static func schedule(
    _ reader: ExperimentReader, peak: Double, steps: Int
  ) throws(ExperimentError) -> LearningRateSchedule {
    let warmup = try reader.integer("warmup", in: 0...steps, default: 0)
    let shape: LearningRateSchedule.Shape
    switch try reader.choice("shape", default: Shape.cosine) {
    case .constant: shape = .constant
    case .step:
      shape = .step(
        interval: try reader.integer("interval", in: 1...100_000_000),
        factor: try reader.number("factor", in: 0...1, default: 0.1))
    case .cosine: shape = .cosine(floor: try reader.number("floor", in: 0...1, default: 0))
    case .linear: shape = .linear(floor: try reader.number("floor", in: 0...1, default: 0))
    }
    return LearningRateSchedule(peak: peak, shape: shape, warmup: warmup, total: steps)
  }

  private static func modalities(_ key: String, _ reader: ExperimentReader) throws -> [Modality] {
    try reader.strings(key).map { word in
      guard [Modality.image, .audio].contains(Modality(rawValue: word)) else {
        throw reader.impossible(
          key, found: word.inQuotes,
          expected: "image or audio.\(NameSuggestion.question(for: word, in: ["image", "audio"]))")
      }
      return Modality(rawValue: word)
    }
  }

  private static func layouts(_ reader: ExperimentReader) throws -> (from: Double, [Layout]) {
    let from = try reader.number("from", in: 0...1, default: 0)
    let mix = try reader.list("mix") { entry in
      Layout(
        media: try modalities("media", entry), weight: try entry.number("weight", in: 0...1e9, default: 1))
    }
    if !mix.isEmpty && mix.allSatisfy({ $0.weight == 0 }) {
      throw reader.impossible("mix", found: "weights of 0", expected: "a weight above 0")
    }
    return (from, mix.isEmpty ? [Layout(media: [.image, .audio], weight: 1)] : mix)
  }

  private static func needs(_ reader: ExperimentReader) throws -> [String: Set<Modality>] {
    var needs: [String: Set<Modality>] = [:]
    for type in reader.allKeys() { needs[type] = Set(try modalities(type, reader)) }
    return needs
  }
}
