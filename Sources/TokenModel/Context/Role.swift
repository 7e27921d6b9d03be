/// What a position of a prompt is for.
public enum Role: String, Sendable, CaseIterable, Hashable {
  /// The token that begins a sequence; a known attention sink, so never counted as text.
  case bos
  /// System text and fixed text before it.
  case system
  /// A row of an image.
  case image
  /// A row of audio.
  case audio
  /// A row of a video.
  case video
  /// Newline and tile marks inside media.
  case separator
  /// Fixed pieces of the prompt format around the question, such as the marks of a turn.
  case instruction
  /// What the user asks.
  case question
  /// What the model answers, given or generated.
  case response

  /// Whether indices count this role as text.
  public var isText: Bool { self == .instruction || self == .question || self == .response }
  /// The modality of a row: text also for bos and system; nil for separators, which belong to none.
  public var modality: Modality? {
    switch self {
    case .image: .image
    case .audio: .audio
    case .video: .video
    case .separator: nil
    case .bos, .system, .instruction, .question, .response: .text
    }
  }
  /// The roles of media.
  public static let media: [Role] = [.image, .audio, .video]
}

/// A kind of input, such as text or image: an open set named by its string.
public struct Modality: RawRepresentable, Hashable, Sendable, Comparable {
  /// The name.
  public let rawValue: String
  /// A modality of this name.
  public init(rawValue: String) { self.rawValue = rawValue }
  /// Written text.
  public static let text = Modality(rawValue: "text")
  /// Still images.
  public static let image = Modality(rawValue: "image")
  /// Sound.
  public static let audio = Modality(rawValue: "audio")
  /// Moving images.
  public static let video = Modality(rawValue: "video")

  /// Orders by name.
  public static func < (left: Modality, right: Modality) -> Bool { left.rawValue < right.rawValue }

  /// The role of this modality's rows in a prompt; nil for text, whose rows have several.
  public var role: Role? {
    switch self {
    case .image: .image
    case .audio: .audio
    case .video: .video
    default: nil
    }
  }
}
