import Foundation
import RunKit
import TokenModel

/// One conversation given on the command line.
struct SampleOptions {
  static let image = Option<[String]>.texts("image", "FILE", "an image")
  static let audio = Option<[String]>.texts("audio", "FILE", "a sound")
  static let video = Option<[String]>.texts("video", "FILE", "a video")
  static let text = Option<String?>.text(
    "text", "TEXT", notes: "media stand before it, or where it says <image>, <audio>, <video>", "the question"
  )
  static let promptRaw = Option<String?>.text(
    "prompt-raw", "TEXT", notes: "instead of --text; nothing is added but the id that begins a sequence",
    "the whole prompt, with the model's own placeholders for media")
  static let declarations = [
    image.declaration, audio.declaration, video.declaration, text.declaration, promptRaw.declaration,
  ]

  private let images: [String]
  private let audios: [String]
  private let videos: [String]
  private let question: String?
  private let rawPrompt: String?

  init(_ arguments: Arguments) throws(UsageError) {
    images = try arguments[Self.image]
    audios = try arguments[Self.audio]
    videos = try arguments[Self.video]
    question = try arguments[Self.text]
    rawPrompt = try arguments[Self.promptRaw]
  }

  /// Whether any of the options was given.
  var isGiven: Bool {
    question != nil || rawPrompt != nil || !images.isEmpty || !audios.isEmpty || !videos.isEmpty
  }

  /// Refuses a command line without a question.
  func requireText(_ command: String) throws(UsageError) {
    if question != nil && rawPrompt != nil {
      throw .conflict(reason: "--text and --prompt-raw exclude each other", remedy: "give one of them")
    }
    if question == nil && rawPrompt == nil {
      throw .missingOption(option: Self.text.declaration.spelling, command: command)
    }
  }

  /// The conversation with its media as the model takes them.
  func sample(for checkpoint: Checkpoint) throws -> Sample {
    let reader = checkpoint.mediaReader
    let media =
      try read(images, .image, reader) + read(audios, .audio, reader) + read(videos, .video, reader)
    if let rawPrompt {
      var sample = Sample(
        index: 0, id: "command line", turns: [.init(speaker: .user, text: rawPrompt)], media: media)
      sample.rawPrompt = rawPrompt
      return sample
    }
    let text = question ?? ""
    if Modality.media.contains(where: { text.contains("<\($0.rawValue)>") }) {
      return Sample(index: 0, id: "command line", turns: [.init(speaker: .user, text: text)], media: media)
    }
    return Sample(id: "command line", media: media, question: text)
  }

  private func read(_ paths: [String], _ modality: Modality, _ reader: MediaReader) throws -> [Medium] {
    try paths.map { try reader.medium(modality, at: URL(fileURLWithPath: $0), named: $0) }
  }
}
