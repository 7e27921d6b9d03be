import RunKit

/// Qwen2-VL and Qwen2.5-VL: some frames a second, cut into patches that reach over `temporal_patch_size` of them.
///
/// Taken are `num_frames` frames where the configuration says so, else `fps` (2) a second, between `min_frames` (4) and
/// `max_frames` (768), a multiple of `temporal_patch_size`; a video with fewer frames than that is taken whole. The
/// medium is laid out as an image's; `Layout.secondsPerStep` is what Qwen2.5-VL calls `second_per_grid_ts`.
///
/// Source: `Qwen2VLVideoProcessor` of the transformers library, with `do_sample_frames` on and 2 frames a second, the
/// rate the authors name in their own code (qwen-vl-utils). The pixels of a frame are bounded by `size` alone.
struct Qwen2VLVideoProcessor: VideoProcessor {
  static let name = "Qwen2VLVideoProcessor"
  static let imageNames = Qwen2VLImageProcessor.names

  let patches: QwenPatches
  let pixels: ClosedRange<Int>?
  let resampling: Resampling
  let normalization: PixelNormalization
  let frameCount: Int?
  let framesPerSecond: Double
  let leastFrames: Int
  let mostFrames: Int

  init(_ settings: ConfigurationReader) throws(ConfigurationError) {
    patches = try QwenPatches(settings)
    let range = try QwenPatches.pixels(settings, default: 128 * 28 * 28...28 * 28 * 768)
    pixels = try settings.bool("do_resize", default: true) ? range : nil
    resampling = try Resampling(settings, default: .bicubic, arithmetic: .torchvision)
    normalization = try PixelNormalization(
      settings, mean: PixelNormalization.clipMean, deviation: PixelNormalization.clipDeviation,
      arithmetic: .torchvision)
    let counts = 1...VideoFile.takenLimit
    frameCount = try settings.has("num_frames") ? settings.integer("num_frames", in: counts) : nil
    framesPerSecond = try settings.number("fps", above: 0, default: 2)
    leastFrames = try settings.integer("min_frames", in: counts, default: 4)
    mostFrames = try settings.integer("max_frames", in: counts, default: 768)
    try settings.refuse("cap_pixels_per_frame", unless: [false])
  }

  func indices(of facts: VideoFile.Facts) -> [Int] {
    let total = facts.frameCount
    let unit = patches.frames
    let count: Int
    if let frameCount {
      count = Int((Double(frameCount) / Double(unit)).rounded(.toNearestOrEven)) * unit
    } else {
      let most = min(mostFrames, total) / unit * unit
      let wanted = Double(total) / facts.rate * framesPerSecond
      let bounded = min(max(wanted, Double(leastFrames)), Double(most))
      count = Int(bounded / Double(unit)) * unit
    }
    return count < 1 || count > total
      ? Array(0..<min(total, VideoFile.takenLimit)) : VideoProcessors.evenly(count, of: total)
  }

  func resized(_ frame: RGBImage, count: Int, path: String) throws(MediaError) -> RGBImage {
    resampling.resized(frame, to: try patches.size(of: frame.size, pixels: pixels, path: path))
  }

  func medium(_ frames: [RGBImage], facts: VideoFile.Facts, layout: Medium.Layout, identity: String) -> Medium
  {
    let grid = patches.grid(of: frames[0].size, frameCount: frames.count)
    var layout = layout
    layout.patchGrid = grid
    let rate = Double(frames.count) / Double(facts.frameCount) * facts.rate
    layout.secondsPerStep = Double(patches.frames) / rate
    return Medium(
      modality: .video, shape: patches.shape(of: grid),
      values: .numbers(patches.values(frames, normalization)),
      layout: layout, identity: identity)
  }
}
