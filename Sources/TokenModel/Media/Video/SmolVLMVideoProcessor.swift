import RunKit

/// SmolVLM: about one frame a second, each pressed into one square.
///
/// Taken are `fps` (1) frames a second, at most `max_frames` (64), evenly from the first to the last frame; of a long
/// video the first and the last second are left out. A medium has shape `[frames, 3, side, side]`, and
/// `Layout.frameTimes` says when each frame is shown, which the prompt tells the model.
///
/// Source: `SmolVLMVideoProcessor` of the transformers library with `do_sample_frames` on; Marafioti et al., "SmolVLM:
/// Redefining small and efficient multimodal models", 2025, arXiv:2504.05299.
struct SmolVLMVideoProcessor: VideoProcessor {
  static let name = "SmolVLMVideoProcessor"
  static let imageNames = ["SmolVLMImageProcessor"]

  /// nil where that step is left out.
  let longestSide: Int?
  let side: Int
  let resampling: Resampling
  let normalization: PixelNormalization
  let mostFrames: Int
  let framesPerSecond: Double

  private static let skippedSeconds = 1.0
  private static let sideLimit = 4096

  init(_ settings: ConfigurationReader) throws(ConfigurationError) {
    var (longest, most, rate) = (4 * 364, 64, 1.0)
    let counts = 1...VideoFile.takenLimit
    longest = try Idefics3ImageProcessor.longestEdge("size", settings, default: longest)
    most = try settings.integer("num_frames", in: counts, default: most)
    rate = try settings.number("fps", above: 0, default: rate)
    // Older files have these in a section of their own, which wins, but for a size beside it.
    if let sampling = try settings.section("video_sampling") {
      if !settings.has("size") {
        longest = try Idefics3ImageProcessor.longestEdge("video_size", sampling, default: longest)
      }
      most = try sampling.integer("max_frames", in: counts, default: most)
      rate = try sampling.number("fps", above: 0, default: rate)
    }
    (mostFrames, framesPerSecond) = (most, rate)
    longestSide = try settings.bool("do_resize", default: true) ? min(longest, Self.sideLimit) : nil
    side = try Idefics3ImageProcessor.longestEdge("max_image_size", settings, default: 364)
    resampling = try Resampling(settings, default: .lanczos, arithmetic: .torchvision)
    normalization = try PixelNormalization(
      settings, mean: PixelNormalization.half, deviation: PixelNormalization.half, arithmetic: .torchvision)
  }

  func indices(of facts: VideoFile.Facts) -> [Int] {
    let total = facts.frameCount
    let estimated = (framesPerSecond * facts.duration).rounded(.toNearestOrEven)
    let count = max(1, Int(min(estimated, Double(mostFrames))))
    var (first, last) = (0, total - 1)
    if facts.duration - 2 * Self.skippedSeconds > Double(mostFrames) * framesPerSecond {
      first = max(0, Int(Self.skippedSeconds * facts.rate))
      last = min(Int(Double(total) - Self.skippedSeconds * facts.rate), total - 1)
    }
    if first >= last { (first, last) = (0, total - 1) }
    var indices: [Int] = []
    for place in 0..<count {
      let step = count > 1 ? Double(last - first) / Double(count - 1) : 0
      let index =
        place > 0 && place == count - 1 ? last : Int((Double(place) * step + Double(first)).rounded(.down))
      if indices.last != index { indices.append(index) }
    }
    return indices
  }

  func resized(_ frame: RGBImage, count: Int, path: String) -> RGBImage {
    guard let longestSide else { return frame }
    let scaled = resampling.resized(frame, to: Idefics3ImageProcessor.size(frame.size, longest: longestSide))
    return resampling.resized(scaled, to: Medium.Extent(height: side, width: side))
  }

  func medium(_ frames: [RGBImage], facts: VideoFile.Facts, layout: Medium.Layout, identity: String) -> Medium
  {
    var (values, layout): ([Float], Medium.Layout) = ([], layout)
    for frame in frames { normalization.append(frame, to: &values) }
    layout.visibleSizes = frames.map(\.size)
    return Medium(
      modality: .video, shape: [frames.count, 3, frames[0].height, frames[0].width], values: .numbers(values),
      layout: layout, identity: identity)
  }
}
