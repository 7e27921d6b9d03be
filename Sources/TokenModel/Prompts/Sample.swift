/// One medium as a model takes it: bytes of a known shape.
public struct Medium: Sendable, Equatable {
  /// What kind of input it is.
  public let modality: Modality
  /// Sizes of the axes: image `[channels, height, width]`, log-mel audio `[mel bins, frames]`.
  public let shape: [Int]
  /// The elements, row-major.
  public let bytes: [UInt8]
  /// What the medium is called where it comes from, such as a file name or a row; samples with the same medium share it.
  public let identity: String

  /// - Parameter bytes: As many as `shape` asks for.
  public init(modality: Modality, shape: [Int], bytes: [UInt8], identity: String) {
    (self.modality, self.shape, self.bytes, self.identity) = (modality, shape, bytes, identity)
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
