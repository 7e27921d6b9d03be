/// Videos of SmolVLM2: frames without tiles, each with its time before it, in one text.
///
///     You are provided the following series of three frames from a 0:00:02 [H:MM:SS] video.\n
///     \nFrame from 00:00:<fake_token_around_image><global-img><image>…<fake_token_around_image> …\n\n
///
/// Frames have the placeholder of images, so a conversation has images or videos, not both.
///
/// Source: `SmolVLMProcessor.replace_video_token` of the transformers library.
extension Idefics3Model {
  /// The most frames of a video: a text of more is not what the model was made for.
  static let frameLimit = 999

  /// Checks that a video is square frames with their times.
  func validateVideo(_ medium: Medium, sample: String) throws(PromptError) {
    let shape = medium.shape
    guard shape.count == 4, tower.takes(tile: Array(shape.dropFirst())) else {
      throw .wrongMediumShape(
        sample: sample, modality: "video", found: shape,
        expected: [shape.first ?? 1, tower.channels, side, side])
    }
    let layout = medium.layout
    let times = layout.frameTimes + (layout.duration.map { [$0] } ?? [])
    guard 1...Self.frameLimit ~= shape[0], layout.frameTimes.count == shape[0],
      times.allSatisfy({ 0...1e6 ~= $0 })
    else {
      throw .unusableMedium(
        sample: sample, modality: "video",
        found: "\(shape[0]) frames with \(layout.frameTimes.count) times",
        expected: "at most \(Self.frameLimit) frames, and the time of each")
    }
    try medium.requireNumbers(sample: sample)
  }

  /// The frames of a video with what is said around them.
  func videoParts(_ video: Medium) -> [FormattedPart] {
    let times = video.layout.frameTimes
    let duration = Int(video.layout.duration ?? times.last ?? 0)
    let clock = "\(duration / 3600):\(Self.twoDigits(duration / 60 % 60)):\(Self.twoDigits(duration % 60))"
    let size = tower.rowsPerSide(ofTile: video.shape[2])
    let rows = [FormattedPart](repeating: .placeholder(.video), count: size * size)
    let fake = "<fake_token_around_image>"
    var opening =
      "You are provided the following series of \(Self.words(times.count)) frames from a \(clock) [H:MM:SS] video.\n"
    var parts: [FormattedPart] = []
    for time in times {
      let minute = "\(Self.twoDigits(Int(time) / 60)):\(Self.twoDigits(Int(time) % 60))"
      parts.append(.text("\(opening)\nFrame from \(minute):\(fake)<global-img>", role: .separator))
      parts += rows
      opening = fake
    }
    return parts + [.text(opening + "\n\n", role: .separator)]
  }

  private static func twoDigits(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }

  /// A number below 1000 in English, as `num2words` spells it.
  static func words(_ number: Int) -> String {
    let small = [
      "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
      "twelve",
      "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    ]
    let tens = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
    if number < 20 { return small[number] }
    if number < 100 {
      return tens[number / 10] + (number % 10 == 0 ? "" : "-" + small[number % 10])
    }
    let rest = number % 100
    return small[number / 100] + " hundred" + (rest == 0 ? "" : " and " + words(rest))
  }
}
