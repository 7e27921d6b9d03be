import Foundation
import RunKit

/// The parts of a checkpoint's configuration that say how media are prepared.
struct ProcessorSettings {
  /// For images; nil if nothing says that there are any.
  let image: ConfigurationReader?
  /// For sound.
  let sound: ConfigurationReader?
  /// For video, which may name a processor of images that has one of video beside it.
  let video: ConfigurationReader?

  private static let limit = 10 << 20

  /// Reads `processor_config.json`, `preprocessor_config.json` and `video_preprocessor_config.json`, and `config.json`
  /// for what they leave out.
  ///
  /// - Throws: `FileError`, `ConfigurationError`.
  init(folder: URL) throws {
    let processor = try Self.read("processor_config.json", folder)
    let preprocessor = try Self.read("preprocessor_config.json", folder)
    let ofVideo = try Self.read("video_preprocessor_config.json", folder)
    let defaults = try Self.read("config.json", folder).flatMap { try ModelDefaults($0) }
    let isSound = preprocessor.map { SoundProcessors.isNamed(by: $0) } ?? false
    let plain = try (isSound ? nil : preprocessor).map { try defaults?.naming($0) ?? $0 }
    image = try processor?.section("image_processor") ?? plain ?? defaults?.image
    sound = try processor?.section("feature_extractor") ?? (isSound ? preprocessor : nil) ?? defaults?.sound
    video = try processor?.section("video_processor") ?? ofVideo ?? plain ?? defaults?.image
  }

  /// A file of the folder; nil if it is not there.
  private static func read(_ name: String, _ folder: URL) throws -> ConfigurationReader? {
    let url = folder.appendingPathComponent(name)
    guard FileManager.default.fileExists(atPath: url.path) else { return nil }
    return try ConfigurationReader(path: url.path, bytes: FileReader.bytes(of: url, limit: limit))
  }
}

/// What a `model_type` is prepared with where no file says so: the class of the library, and the sizes of the towers in
/// `config.json`.
private struct ModelDefaults {
  let image: ConfigurationReader?
  let sound: ConfigurationReader?

  /// nil for a model that takes no media of a kind known here.
  init?(_ configuration: ConfigurationReader) throws {
    let vision = try configuration.section("vision_config")
    let side = { (fallback: Int) throws -> JSONValue in
      .integer(try vision?.integer("image_size", in: TargetSize.sides, default: fallback) ?? fallback)
    }
    var (image, sound): (JSONObject?, JSONObject?) = (nil, nil)
    switch try configuration.string("model_type", default: "") {
    case "llava":
      let isSiglip = try vision?.string("model_type", default: "").hasPrefix("siglip") ?? false
      image = try Self.squares(
        isSiglip ? "SiglipImageProcessor" : "CLIPImageProcessor", side(336), isExact: isSiglip)
    case "llava_next":
      image = try Self.squares("LlavaNextImageProcessor", side(336), isExact: false)
      image?["image_grid_pinpoints"] = configuration.object["image_grid_pinpoints"]
    case "llava_onevision":
      image = try Self.squares("LlavaOnevisionImageProcessor", side(384), isExact: true)
      image?["crop_size"] = nil
      image?["image_grid_pinpoints"] = configuration.object["image_grid_pinpoints"]
    case "qwen2_vl", "qwen2_5_vl":
      image = JSONObject([("image_processor_type", "Qwen2VLImageProcessor")])
      image?["patch_size"] = vision?.object["patch_size"]
      image?["temporal_patch_size"] = vision?.object["temporal_patch_size"]
      image?["merge_size"] = vision?.object["spatial_merge_size"]
    case "idefics3", "smolvlm":
      let tile = try side(364)
      let isSmol = try configuration.string("model_type") == "smolvlm"
      image = JSONObject([
        ("image_processor_type", isSmol ? "SmolVLMImageProcessor" : "Idefics3ImageProcessor"),
        ("size", ["longest_edge": .integer(4 * (tile.intValue ?? 364))]),
        ("max_image_size", ["longest_edge": tile]),
      ])
    case "qwen2_audio":
      let audio = try configuration.section("audio_config")
      sound = JSONObject([("feature_extractor_type", "WhisperFeatureExtractor")])
      sound?["feature_size"] = audio?.object["num_mel_bins"] ?? 128
    default: return nil
    }
    self.image = try image.map { try Self.reader($0, path: configuration.path) }
    self.sound = try sound.map { try Self.reader($0, path: configuration.path) }
  }

  /// Settings that name no processor, with the name of the model's.
  func naming(_ settings: ConfigurationReader) throws -> ConfigurationReader {
    guard settings.processorType.isEmpty, let name = image?.object["image_processor_type"] else {
      return settings
    }
    var object = settings.object
    object["image_processor_type"] = name
    return try Self.reader(object, path: settings.path)
  }

  private static func squares(_ type: String, _ side: JSONValue, isExact: Bool) -> JSONObject {
    let square: JSONValue = ["height": side, "width": side]
    return JSONObject([
      ("image_processor_type", .string(type)), ("size", isExact ? square : ["shortest_edge": side]),
      ("crop_size", square),
    ])
  }

  private static func reader(_ object: JSONObject, path: String) throws -> ConfigurationReader {
    try ConfigurationReader(path: path, bytes: Array(JSONValue.object(object).text().utf8))
  }
}
