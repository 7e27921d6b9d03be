import RunKit

/// The preprocessing of sound of one kind of checkpoint.
protocol SoundProcessor: Sendable {
  /// The name it has in `feature_extractor_type`.
  static var name: String { get }
  /// Reads its settings.
  ///
  /// - Throws: `ConfigurationError`.
  init(_ settings: ConfigurationReader) throws(ConfigurationError)
  /// Samples a second, in Hz, that it takes.
  var sampleRate: Int { get }
  /// The seconds that it looks at; a longer recording need not be decoded further.
  var seconds: Double { get }
  /// The sound as the model takes it.
  ///
  /// - Parameters:
  ///   - samples: At `sampleRate`, full scale 1, at most a little more than `seconds` of them.
  /// - Throws: `MediaError`.
  func medium(_ samples: [Double], path: String, identity: String) throws(MediaError) -> Medium
}

/// Every kind of sound preprocessing.
enum SoundProcessors {
  static let all: [any SoundProcessor.Type] = [WhisperFeatures.self, CLAPFeatures.self]

  /// Whether a configuration names a processor of sound.
  static func isNamed(by settings: ConfigurationReader) -> Bool {
    all.contains { $0.name == settings.processorType }
  }

  /// The processor a configuration names.
  ///
  /// - Throws: `ConfigurationError.unsupportedValue` for one that is not here.
  static func processor(_ settings: ConfigurationReader) throws(ConfigurationError) -> any SoundProcessor {
    let name = settings.processorType
    for type in all where type.name == name { return try make(type, settings) }
    throw .unsupportedValue(
      path: settings.path, key: "feature_extractor_type", found: name.inQuotes,
      supported: all.map { $0.name }.joined(separator: ", "))
  }

  private static func make<Processor: SoundProcessor>(
    _ type: Processor.Type, _ settings: ConfigurationReader
  ) throws(ConfigurationError) -> any SoundProcessor {
    try Processor(settings)
  }
}
