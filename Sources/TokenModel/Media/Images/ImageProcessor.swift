import RunKit

/// The preprocessing of images of one kind of checkpoint.
protocol ImageProcessor: Sendable {
  /// The names it has in `image_processor_type`, without `Fast`.
  static var names: [String] { get }
  /// Reads its settings.
  ///
  /// - Throws: `ConfigurationError`.
  init(_ settings: ConfigurationReader) throws(ConfigurationError)
  /// The image as the model takes it.
  ///
  /// - Throws: `MediaError`.
  func medium(_ image: RGBImage, path: String, identity: String) throws(MediaError) -> Medium
}

/// Every kind of image preprocessing.
enum ImageProcessors {
  static let all: [any ImageProcessor.Type] = [
    CLIPImageProcessor.self, AnyResImageProcessor.self, Qwen2VLImageProcessor.self,
    Idefics3ImageProcessor.self,
  ]

  /// The processor a configuration names.
  ///
  /// - Throws: `ConfigurationError.unsupportedValue` for one that is not here.
  static func processor(_ settings: ConfigurationReader) throws(ConfigurationError) -> any ImageProcessor {
    let name = settings.processorType
    for type in all where type.names.contains(name) { return try make(type, settings) }
    throw .unsupportedValue(
      path: settings.path, key: "image_processor_type", found: name.inQuotes,
      supported: all.flatMap { $0.names }.joined(separator: ", "))
  }

  private static func make<Processor: ImageProcessor>(
    _ type: Processor.Type, _ settings: ConfigurationReader
  ) throws(ConfigurationError) -> any ImageProcessor {
    try Processor(settings)
  }
}
