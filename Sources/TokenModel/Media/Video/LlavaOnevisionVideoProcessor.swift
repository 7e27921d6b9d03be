import RunKit

/// LLaVA-OneVision: evenly spread frames, each pressed into the tower's size.
///
/// Taken are `num_frames` (32) frames, or `fps` a second where the configuration says so; a shorter video is taken
/// whole. A medium has shape `[frames, 3, height, width]`.
///
/// Source: `LlavaOnevisionVideoProcessor` of the transformers library with `do_sample_frames` on; Li et al.,
/// "LLaVA-OneVision: Easy Visual Task Transfer", 2024, arXiv:2408.03326, for the 32 frames.
struct LlavaOnevisionVideoProcessor: VideoProcessor {
  static let name = "LlavaOnevisionVideoProcessor"
  static let imageNames = ["LlavaOnevisionImageProcessor"]

  let target: TargetSize?
  let resampling: Resampling
  let normalization: PixelNormalization
  let frameCount: Int
  let framesPerSecond: Double?

  init(_ settings: ConfigurationReader) throws(ConfigurationError) {
    let size = try TargetSize(settings, default: .exactly(Medium.Extent(height: 384, width: 384)))
    target = try settings.bool("do_resize", default: true) ? size : nil
    try settings.refuse("do_center_crop", unless: [false])
    resampling = try Resampling(settings, default: .bicubic, arithmetic: .torchvision)
    normalization = try PixelNormalization(
      settings, mean: PixelNormalization.clipMean, deviation: PixelNormalization.clipDeviation,
      arithmetic: .torchvision)
    frameCount = try settings.integer("num_frames", in: 1...VideoFile.takenLimit, default: 32)
    framesPerSecond =
      try settings.has("fps") && !settings.has("num_frames") ? settings.number("fps", above: 0) : nil
  }

  func indices(of facts: VideoFile.Facts) -> [Int] {
    var count = frameCount
    if let framesPerSecond {
      count = Int(min(facts.duration * framesPerSecond, Double(VideoFile.takenLimit)))
    }
    return VideoProcessors.evenly(max(1, min(count, facts.frameCount)), of: facts.frameCount)
  }

  func resized(_ frame: RGBImage, count: Int, path: String) -> RGBImage {
    target.map { resampling.resized(frame, to: $0.size(of: frame.size)) } ?? frame
  }

  func medium(_ frames: [RGBImage], facts: VideoFile.Facts, layout: Medium.Layout, identity: String) -> Medium
  {
    var values: [Float] = []
    for frame in frames { normalization.append(frame, to: &values) }
    return Medium(
      modality: .video, shape: [frames.count, 3, frames[0].height, frames[0].width], values: .numbers(values),
      layout: layout, identity: identity)
  }
}
