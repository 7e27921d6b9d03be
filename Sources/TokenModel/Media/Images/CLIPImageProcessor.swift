import RunKit

/// CLIP, SigLIP and LLaVA-1.5: make square if asked, resize, cut out the middle, normalise.
///
/// A medium has shape `[3, height, width]`.
///
/// Source: `CLIPImageProcessorPil`, `SiglipImageProcessorPil` and `LlavaImageProcessorPil` of the transformers library;
/// Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv:2103.00020.
struct CLIPImageProcessor: ImageProcessor {
  static let names = [
    "CLIPImageProcessor", "CLIPFeatureExtractor", "SiglipImageProcessor", "LlavaImageProcessor",
  ]

  /// Whether the image is first put on a square of the mean colour.
  let makesSquare: Bool
  /// nil where images come in the right size.
  let target: TargetSize?
  let resampling: Resampling
  /// nil where nothing is cut off.
  let crop: Medium.Extent?
  let normalization: PixelNormalization

  init(_ settings: ConfigurationReader) throws(ConfigurationError) {
    let type = settings.processorType
    let isSiglip = type.hasPrefix("Siglip")
    let square = Medium.Extent(height: 224, width: 224)
    resampling = try Resampling(settings, default: .bicubic)
    let fallback: TargetSize = isSiglip ? .exactly(square) : .shortestEdge(224)
    target =
      try settings.bool("do_resize", default: true) ? TargetSize(settings, default: fallback) : nil
    crop =
      try settings.bool("do_center_crop", default: !isSiglip)
      ? Medium.Extent.reading("crop_size", of: settings, default: square) : nil
    // Of the others, only LLaVA's own class knows what to do with it.
    let isLLaVA = type.hasPrefix("Llava")
    if !isLLaVA { try settings.refuse("do_pad", unless: [false]) }
    makesSquare = try settings.bool("do_pad", default: false)
    try settings.refuse("use_square_size", unless: [false])
    normalization = try PixelNormalization(
      settings, mean: isSiglip ? PixelNormalization.half : PixelNormalization.clipMean,
      deviation: isSiglip ? PixelNormalization.half : PixelNormalization.clipDeviation)
  }

  func medium(_ image: RGBImage, path: String, identity: String) -> Medium {
    let original = image.size
    var image = image
    if makesSquare {
      image = image.paddedToSquare(color: normalization.mean.map { UInt8(clamping: Int($0 * 255)) })
    }
    if let target { image = resampling.resized(image, to: target.size(of: image.size)) }
    if let crop { image = image.centerCropped(to: crop) }
    var layout = Medium.Layout()
    layout.originalSize = original
    return Medium(
      modality: .image, shape: [3, image.height, image.width], values: .numbers(normalization(image)),
      layout: layout, identity: identity)
  }
}

extension ConfigurationReader {
  /// The name of the processor, without `Fast`.
  var processorType: String {
    let keys = ["image_processor_type", "video_processor_type", "feature_extractor_type"]
    let name = keys.lazy.compactMap { object[$0]?.stringValue }.first ?? ""
    return name.hasSuffix("Fast") ? String(name.dropLast(4)) : name
  }
}
