/// One medium as a model takes it: values of a known shape, and what the family needs to know about them.
public struct Medium: Sendable, Equatable {
  /// The elements of a medium, row-major.
  public enum Values: Sendable, Equatable {
    /// As stored; the model normalises them.
    case bytes([UInt8])
    /// As the family's preprocessing made them, normalised.
    case numbers([Float])

    /// The number of elements.
    public var count: Int {
      switch self {
      case .bytes(let bytes): bytes.count
      case .numbers(let numbers): numbers.count
      }
    }
  }

  /// How a medium of varying size was arranged by its preprocessing; nil where a family does not need it.
  public struct Layout: Sendable, Equatable {
    /// Height and width of the image before preprocessing (transformers: `image_sizes`).
    public var originalSize: Extent?
    /// Patches in time, from top to bottom and from left to right (transformers: `image_grid_thw`, `video_grid_thw`).
    public var patchGrid: PatchGrid?
    /// Rows and columns of tiles, without the overview image; (0, 0) where the image was not cut.
    public var tiles: Extent?
    /// For every tile the height and width that show the image, from the top left; the rest is padding
    /// (transformers: `pixel_attention_mask`).
    public var visibleSizes: [Extent] = []
    /// Frames that are sound; the rest is padding (transformers: `feature_attention_mask`).
    public var frameCount: Int?
    /// Seconds between two steps of the patch grid in time.
    public var secondsPerStep: Double?
    /// When each frame of a video is shown, in seconds from its beginning.
    public var frameTimes: [Double] = []
    /// How long a video is, in seconds.
    public var duration: Double?

    /// Nothing known.
    public init() {}
  }

  /// Rows and columns.
  public struct Extent: Sendable, Equatable {
    /// From top to bottom.
    public let height: Int
    /// From left to right.
    public let width: Int
    /// Rows and columns.
    public init(height: Int, width: Int) { (self.height, self.width) = (height, width) }
  }

  /// Steps in time, rows and columns.
  public struct PatchGrid: Sendable, Equatable {
    /// Steps in time.
    public let time: Int
    /// From top to bottom.
    public let height: Int
    /// From left to right.
    public let width: Int
    /// Steps in time, rows and columns.
    public init(time: Int, height: Int, width: Int) {
      (self.time, self.height, self.width) = (time, height, width)
    }
  }

  /// What kind of input it is.
  public let modality: Modality
  /// Sizes of the axes: image `[channels, height, width]` or as the family's preprocessing lays tiles and patches out,
  /// log-mel audio `[mel bins, frames]`.
  public let shape: [Int]
  /// The elements, row-major.
  public let values: Values
  /// How the values are arranged.
  public let layout: Layout
  /// What the medium is called where it comes from, such as a file name or a row; samples with the same medium share it.
  public let identity: String

  /// - Parameter values: As many as `shape` asks for.
  public init(
    modality: Modality, shape: [Int], values: Values, layout: Layout = Layout(), identity: String
  ) {
    (self.modality, self.shape, self.values, self.layout) = (modality, shape, values, layout)
    self.identity = identity
  }

  /// A medium of stored bytes.
  public init(modality: Modality, shape: [Int], bytes: [UInt8], identity: String) {
    self.init(modality: modality, shape: shape, values: .bytes(bytes), identity: identity)
  }

  /// A medium of numbers whose values are all 0, otherwise the same: what shows nothing after normalisation.
  public var zeroed: Medium {
    Medium(
      modality: modality, shape: shape, values: .numbers([Float](repeating: 0, count: values.count)),
      layout: layout, identity: identity)
  }

  /// Checks that the values are numbers, as many as the shape asks for.
  ///
  /// - Throws: `PromptError.unusableMedium`.
  func requireNumbers(sample: String) throws(PromptError) {
    let count = shape.reduce(1, *)
    guard numbers.count == count else {
      throw .unusableMedium(
        sample: sample, modality: modality.rawValue,
        found: bytes.isEmpty ? "\(numbers.count) numbers" : "stored bytes",
        expected: "\(count) normalised numbers")
    }
  }

  /// The numbers; none where the values are bytes.
  public var numbers: [Float] {
    if case .numbers(let numbers) = values { numbers } else { [] }
  }

  /// The stored bytes; none where the values are numbers.
  public var bytes: [UInt8] {
    if case .bytes(let bytes) = values { bytes } else { [] }
  }
}

/// One item of a data set: a conversation with media, and the answer that is expected if there is one.
public struct Sample: Sendable, Equatable {
  /// Who speaks.
  public enum Speaker: String, Sendable { case system, user, assistant }

  /// One turn of a conversation. Media stand in the text as `<image>`, `<audio>` or `<video>`.
  public struct Turn: Sendable, Equatable {
    /// Who speaks.
    public let speaker: Speaker
    /// What is said.
    public let text: String
    /// A turn of a conversation.
    public init(speaker: Speaker, text: String) { (self.speaker, self.text) = (speaker, text) }
  }

  /// The place in the data set, from 0.
  public var index: Int
  /// The name of the item.
  public var id: String
  /// The turns before the answer; the last one is the user's.
  public var turns: [Turn]
  /// The whole prompt with the family's own placeholders, in place of a conversation that is laid out; nil as a rule.
  public var rawPrompt: String?
  /// The media in the order of their placeholders.
  public var media: [Medium]
  /// The expected answer.
  public var answer: String?
  /// Properties to group results by, such as the type of the question.
  public var tags: [String: String]

  /// An item with these turns and media.
  public init(
    index: Int, id: String, turns: [Turn], media: [Medium], answer: String? = nil,
    tags: [String: String] = [:]
  ) {
    (self.index, self.id, self.turns, self.media) = (index, id, turns, media)
    (self.answer, self.tags) = (answer, tags)
  }

  /// A question about media, which come first in their order.
  public init(
    index: Int = 0, id: String, media: [Medium], question: String, answer: String? = nil,
    tags: [String: String] = [:]
  ) {
    let placeholders = media.map { "<\($0.modality.rawValue)>" }.joined()
    self.init(
      index: index, id: id, turns: [Turn(speaker: .user, text: placeholders + question)], media: media,
      answer: answer, tags: tags)
  }
}
