public import RunKit
public import TensorCore
public import TokenModel

/// How a model is fine-tuned.
public struct FinetuneOptions: Sendable {
  /// What is trained.
  public enum Method: Sendable {
    /// LoRA or MokA around layers; parts named by `savedModules` whole.
    case adapter(AdapterConfiguration)
    /// Parts of the model.
    case full([ModelPart])
  }

  /// Which figure on the validation data chooses the best weights.
  public enum Metric: String, CaseIterable, Sendable {
    /// The mean loss of answer pieces, less is better.
    case loss
    /// Exact match of greedy answers.
    case exactMatch = "exact-match"
  }

  /// RollingQ on layers of the decoder; see `DecoderRollingQuery`.
  public struct Rebalancing: Sendable, Equatable {
    /// The layers, from 0.
    public var layers: [Int]
    /// Between which modalities.
    public var modalities: [Modality]
    /// ρ, β and the others.
    public var options: RollingQueryOptions

    /// RollingQ with these settings.
    public init(layers: [Int], modalities: [Modality], options: RollingQueryOptions = RollingQueryOptions()) {
      (self.layers, self.modalities, self.options) = (layers, modalities, options)
    }
  }

  /// What is trained.
  public var method: Method
  /// Whose queries are rotated at the end of every pass over the data; nil for none.
  public var rebalancing: Rebalancing?
  /// Samples in a part of a step.
  public var batchSize = 4
  /// How the driver goes.
  public var driver: StepDriver.Options
  /// The update rule.
  public var rule: any UpdateRule = AdamW()
  /// Of matrices.
  public var weightDecay = 0.0
  /// What the learning rate of a part is multiplied by.
  public var rates: [ModelPart: Double] = [:]
  /// Whether only the input of every layer is kept, and the layer run twice.
  public var checkpointsLayers = false
  /// Which validation figure counts.
  public var metric = Metric.loss
  /// The most ids of an answer, where answers are generated.
  public var answerLimit = 32
  /// The seed of everything drawn.
  public var seed = 0

  /// The defaults.
  public init(_ method: Method, schedule: LearningRateSchedule) {
    self.method = method
    driver = StepDriver.Options(schedule: schedule)
    driver.logInterval = 10
    driver.evaluationInterval = 200
    driver.saveInterval = 200
    driver.clipping = GradientClipping(norm: 1)
  }

  /// Whether every answer of a conversation is learned by itself, after the turns before it alone: rows of media see all
  /// questions, so that an answer in the middle would be learned from what is asked later.
  var splitsAnswers: Bool {
    guard case .adapter(let configuration) = method, let moka = configuration.moka else { return false }
    return moka.interaction != .none
  }
}

/// Why a model cannot be fine-tuned on some data.
public enum FinetuneError: DescribedError {
  case noAnswer(path: String, sample: String)
  case nothingLearned(path: String, sample: String)
  case noMedia(path: String, method: String)
  case nothingTrainable(path: String, parts: [String])
  case noSuchPart(path: String, part: String, parts: [String])
  case tooLong(path: String, sample: String, found: Int, limit: Int)
  case noEpoch(path: String, steps: Int, perEpoch: Int)
  case neverTogether(path: String, modalities: [String])

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case noAnswer = "finetune_no_answer"
    case nothingLearned = "finetune_all_labels_masked"
    case noMedia = "finetune_no_media"
    case nothingTrainable = "finetune_nothing_trainable"
    case noSuchPart = "finetune_no_such_part"
    case tooLong = "finetune_too_long"
    case noEpoch = "finetune_no_epoch"
    case neverTogether = "finetune_never_together"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .noAnswer: .noAnswer
    case .nothingLearned: .nothingLearned
    case .noMedia: .noMedia
    case .nothingTrainable: .nothingTrainable
    case .noSuchPart: .noSuchPart
    case .tooLong: .tooLong
    case .noEpoch: .noEpoch
    case .neverTogether: .neverTogether
    }
  }

  /// The exit status a command ends with.
  public var exitStatus: ExitStatus {
    switch self {
    case .nothingTrainable, .noSuchPart, .noEpoch: .usage
    default: .data
    }
  }

  /// The file concerned.
  public var path: String? {
    switch self {
    case .noAnswer(let path, _), .nothingLearned(let path, _), .noMedia(let path, _),
      .nothingTrainable(let path, _), .noSuchPart(let path, _, _), .tooLong(let path, _, _, _),
      .noEpoch(let path, _, _), .neverTogether(let path, _):
      path
    }
  }

  /// What was wrong, where, and what was expected.
  public var errorDescription: String? {
    switch self {
    case .noAnswer(let path, let sample): "\(path): \(sample.shown(limit: 1_000)) has no answer to learn"
    case .nothingLearned(let path, let sample):
      "\(path): the answer of \(sample.shown(limit: 1_000)) is empty, so all its labels are masked"
    case .noMedia(let path, let method):
      "\(path): none of the records has media, which \(method) is for"
    case .nothingTrainable(let path, let parts):
      "\(path): the model has no tensors in \(parts.isEmpty ? "no part" : parts.joined(separator: ", "))"
    case .noSuchPart(let path, let part, let parts):
      "\(path): the model has no part \(part.inQuotes), only \(parts.joined(separator: ", "))"
    case .tooLong(let path, let sample, let found, let limit):
      "\(path): \(sample.shown(limit: 1_000)) has \(found) tokens, at most \(limit) are allowed"
    case .noEpoch(let path, let steps, let perEpoch):
      "\(path): RollingQ rotates queries between two passes over the data, but a pass has \(perEpoch) steps and the "
        + "training ends after \(steps)"
    case .neverTogether(let path, let modalities):
      "\(path): none of the records has \(modalities.joined(separator: " and ")) together, between which RollingQ balances"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .noAnswer: "end every conversation with an answer of the assistant"
    case .nothingLearned: "remove the record or give it an answer"
    case .noMedia: "check the keys of the media, or train with 'finetune lora'"
    case .nothingTrainable, .noSuchPart: "'mmprobe finetune … --dry-run' shows the parts of the model"
    case .tooLong: "remove the record, or raise --max-length"
    case .noEpoch: "raise --steps, or --epochs above 1; or leave --rebalance out"
    case .neverTogether: "name other modalities with --rebalance-modalities, or leave --rebalance out"
    }
  }
}
