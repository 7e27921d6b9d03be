import RunKit
public import TokenModel

/// The form of MokA: which modalities have a matrix of their own and how their rows meet.
///
/// | preset | s | g | λ | keys | form |
/// | --- | --- | --- | --- | --- | --- |
/// | `moka-paper` | 1 | 1 | 1 | question | media attend to the question |
/// | `moka-avt-release` | 4 | s² | 1 | span of the question | as above |
/// | `moka-vt-release` | 4 | 1 | 0.05 | question | as above |
/// | `multi-lora` | 1 | | | | no attention, B of its own for each modality |
/// | `no-cross-attention` | 1 | | | | no attention, B shared |
/// | `text-query` | 1 | 1 | 1 | media | the question attends to media |
/// | `naive` | 1 | | 1 | question | the mean of the question is added to media |
///
/// s follows from α and the rank of a configuration, α / r; the table names it at the preset's default α.
///
/// Source: Wei et al., "MokA: Multimodal Low-Rank Adaptation for MLLMs", NeurIPS 2025, section 3 and its table of variants;
/// the two forms of GeWu-Lab/MokA, `AudioVisualText` and `VisualText`.
public struct MokASettings: Sendable, Equatable {
  /// How rows of media and of the question meet.
  public enum Interaction: String, CaseIterable, Sendable {
    /// Not at all.
    case none = "none"
    /// Media attend to the question.
    case mediaToText = "media-to-text"
    /// The question attends to media.
    case textToMedia = "text-to-media"
    /// The mean of the question is added to every row of media.
    case mean = "mean"
  }

  /// Which rows of text are keys.
  public enum Keys: String, CaseIterable, Sendable {
    /// Those of the question.
    case question = "question"
    /// Everything from the first to the last row of the question; rows between that are no question count as zeros.
    case span = "question-span"
  }

  /// g, the factor of the attention logits.
  public enum Gain: Sendable, Equatable {
    /// A number.
    case number(Double)
    /// s²: the form in which the scale is applied before attention.
    case scaleSquared

    /// The number for a scale.
    func value(scale: Float) -> Float {
      switch self {
      case .number(let number): Float(number)
      case .scaleSquared: scale * scale
      }
    }
  }

  /// A form with a name.
  public enum Preset: String, CaseIterable, Sendable {
    case mokaPaper = "moka-paper"
    case mokaAVTRelease = "moka-avt-release"
    case mokaVTRelease = "moka-vt-release"
    case multiLoRA = "multi-lora"
    case noCrossAttention = "no-cross-attention"
    case textQuery = "text-query"
    case naive = "naive"

    /// α / r where no α is given.
    public var defaultScale: Int { self == .mokaAVTRelease || self == .mokaVTRelease ? 4 : 1 }
  }

  /// The preset it was made from; nil if it was put together by hand.
  public var preset: Preset?
  /// The modalities with a matrix of their own; text is one of them.
  public var modalities: [Modality]
  /// λ of each modality, in the order of `modalities`; 0 for text.
  public var weights: [Double]
  /// g.
  public var gain = Gain.number(1)
  /// The keys of attention.
  public var keys = Keys.question
  /// The form.
  public var interaction = Interaction.mediaToText
  /// Whether B is one for all modalities.
  public var sharesUp = true

  /// A preset for these modalities.
  ///
  /// - Parameter media: Without text, which is always there.
  public init(_ preset: Preset, media: [Modality]) {
    self.preset = preset
    modalities = [.text] + media
    weights = [0] + [Double](repeating: preset == .mokaVTRelease ? 0.05 : 1, count: media.count)
    switch preset {
    case .mokaPaper, .mokaVTRelease: break
    case .mokaAVTRelease: (gain, keys) = (.scaleSquared, .span)
    case .multiLoRA: (interaction, sharesUp) = (.none, false)
    case .noCrossAttention: interaction = .none
    case .textQuery: interaction = .textToMedia
    case .naive: interaction = .mean
    }
  }

  /// λ of a modality.
  func weight(of index: Int) -> Float { Float(weights[index]) }
}

extension MokASettings {
  /// Reads the keys of an `adapter_config.json` of type MOKA.
  ///
  /// - Throws: `ConfigurationError`.
  init(_ reader: ConfigurationReader) throws(ConfigurationError) {
    let list = reader.object["modalities"]?.arrayValue
    guard let names = list?.compactMap(\.stringValue), names.contains("text"), names.count == list?.count,
      Set(names).count == names.count, names.allSatisfy({ !$0.isEmpty && !$0.contains(".") }),
      names.count <= 16
    else {
      throw .outOfRange(
        path: reader.path, key: "modalities", found: reader.object["modalities"]?.text() ?? "missing",
        expected: "a list of different modalities with text")
    }
    let modalities = names.map { Modality(rawValue: $0) }
    let word = try reader.string("preset", default: "")
    preset = Preset(rawValue: word)
    guard preset != nil || word.isEmpty else {
      throw reader.unsupported(
        "preset", found: "\"\(word)\"", supported: Preset.allCases.map(\.rawValue).joined(separator: ", "))
    }
    self.modalities = modalities
    let section = try reader.section("cross_weight") ?? reader.defaults("cross_weight")
    for (key, _) in section.object.members where !names.contains(key) || key == "text" {
      throw reader.unsupported(
        "cross_weight", found: "a weight of \"\(key)\"", supported: "media among the modalities")
    }
    var weights: [Double] = []
    for modality in modalities {
      weights.append(
        modality == .text ? 0 : try section.number(modality.rawValue, in: -1e6...1e6, default: 1))
    }
    self.weights = weights
    if reader.object["logit_gain"]?.stringValue == "scale_squared" {
      gain = .scaleSquared
    } else {
      gain = .number(try reader.number("logit_gain", above: 0, default: 1))
    }
    keys = try Self.choice("kv_set", reader, default: Keys.question)
    interaction = try Self.choice("interaction", reader, default: Interaction.mediaToText)
    sharesUp = try reader.bool("shared_b", default: true)
  }

  private static func choice<Word: RawRepresentable<String> & CaseIterable>(
    _ key: String, _ reader: ConfigurationReader, default fallback: Word
  ) throws(ConfigurationError) -> Word {
    let text = try reader.string(key, default: fallback.rawValue)
    guard let word = Word(rawValue: text) else {
      throw reader.unsupported(
        key, found: "\"\(text)\"", supported: Word.allCases.map(\.rawValue).joined(separator: ", "))
    }
    return word
  }

  /// The keys of an `adapter_config.json`.
  var members: [(String, JSONValue)] {
    let media = zip(modalities, weights).filter { $0.0 != .text }
    let gain: JSONValue =
      switch self.gain {
      case .number(let number): .number(number)
      case .scaleSquared: "scale_squared"
      }
    return [
      ("preset", preset.map { .string($0.rawValue) } ?? .null),
      ("modalities", .array(modalities.map { .string($0.rawValue) })),
      ("cross_weight", .object(JSONObject(media.map { ($0.0.rawValue, .number($0.1)) }))),
      ("logit_gain", gain), ("kv_set", .string(keys.rawValue)),
      ("interaction", .string(interaction.rawValue)), ("shared_b", .bool(sharesUp)),
    ]
  }
}
