import RunKit

/// `chameleon`: text and images in one vocabulary. An image is a run of ids, the codes of its patches, between two marks.
///
///     q ← γ ∘ layer_norm(q) + β for each head, the same for k, before rotation
///
/// The names `IMGIMG…` of `vocabulary_map` say which ids are codes of images: the span map gives them the role image, and
/// their logits are the least float32 number, as transformers has it. The image tokenizer (a VQ-VAE) is not part of this
/// program: images come as ids.
///
/// Source: Chameleon Team, "Chameleon: Mixed-Modal Early-Fusion Foundation Models", 2024, arXiv:2405.09818, section 2.3.
public struct ChameleonModel: LanguageModel {
  /// `model_type` of the configuration.
  public static let modelType = "chameleon"
  /// One line about the family.
  public static let summary = "Chameleon: text and images as ids of one vocabulary, a layer norm on each head"

  /// The decoder.
  public var decoder: LLaMADecoder
  /// No media: images are ids.
  public let modalities: [Modality] = []
  /// The ids of codes of images.
  public let imageIDs: Set<Int>
  private let markIDs: Set<Int>

  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ reader: ConfigurationReader, weights: WeightSource) throws {
    var configuration = try LLaMAConfiguration(reader, defaults: .chameleon)
    let map = try reader.requiredSection("vocabulary_map")
    var (images, marks): (Set<Int>, Set<Int>) = ([], [])
    for name in map.object.keys where name.hasPrefix("IMGIMG") || Self.marks.contains(name) {
      let id = try map.integer(name, in: 0...(configuration.vocabularySize - 1))
      if name.hasPrefix("IMGIMG") { images.insert(id) } else { marks.insert(id) }
    }
    (imageIDs, markIDs) = (images, marks)
    configuration.suppressedIDs = images.sorted()
    decoder = try LLaMADecoder(configuration, weights: weights)
  }

  /// What begins and what ends an image.
  private static let marks = ["<racm3:break>", "<eoss>"]

  /// Codes of images are image, the marks around them separators.
  public func fixedRole(of id: Int) -> Role? {
    imageIDs.contains(id) ? .image : markIDs.contains(id) ? .separator : nil
  }

  /// What to give instead of pixels.
  public var inputNames: [String] {
    ["text", "images as the ids of their codes: the image tokenizer is not part of this program"]
  }

  /// `pixel_values`, only to be refused.
  public var mediaInputs: [String] { ["pixel_values"] }

  /// Refuses pixels.
  ///
  /// - Throws: `PromptError.unsupportedModality`.
  public func media(from tensors: MediaTensors) throws -> [Medium] {
    guard tensors.has("pixel_values") else { return [] }
    throw PromptError.unsupportedModality(sample: tensors.path, modality: "image", supported: inputNames)
  }

  /// The turns as they stand, after the id that begins a sequence.
  public func format(_ sample: Sample) throws -> [FormattedPart] { LLaMAModel.plainFormat(sample) }
}
