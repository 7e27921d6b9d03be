import Foundation
import RunKit
import TensorCore
public import TokenModel

/// How the input of a sample is changed before it is answered.
public enum EvaluationCondition: Hashable, Sendable {
  /// Nothing is changed.
  case full
  /// The rows of media become those of their mean input; their number and positions stay.
  case missing([Modality])
  /// Media are taken out of the prompt with their placeholders; later rows move up.
  case deleted([Modality])
  /// Gaussian noise is added to media before the model's towers, `level` times the standard deviation of the medium's own
  /// values; stored bytes are rounded and stay within 0...255.
  case noisy([Modality], level: Double)
  /// Partial-modality inference: adapters act on the prompt rows of these modalities only; none for an empty list. Rows of
  /// the answer are adapted as always. Source: Wei et al., "MokA", NeurIPS 2025, section 3.
  case adapter([Modality])

  /// The largest noise: ten standard deviations leave nothing to be seen.
  static let levelLimit = 10.0

  /// The written form, such as `full`, `missing-image+audio`, `noisy-audio=0.5` or `adapter-text`.
  public var name: String {
    func joined(_ modalities: [Modality]) -> String { modalities.map(\.rawValue).joined(separator: "+") }
    switch self {
    case .full: return "full"
    case .missing(let modalities): return "missing-\(joined(modalities))"
    case .deleted(let modalities): return "deleted-\(joined(modalities))"
    case .noisy(let modalities, let level):
      let isWhole = level == level.rounded()
      return "noisy-\(joined(modalities))=" + (isWhole ? "\(Int(level))" : JSONValue.number(level).text())
    case .adapter(let modalities): return "adapter-\(modalities.isEmpty ? "none" : joined(modalities))"
    }
  }

  /// What written forms look like, for messages.
  public static let grammar =
    "full, missing-image, deleted-image, noisy-image=0.5 or adapter-text; several modalities with a plus sign between"

  /// Reads a written form; nil when it is none.
  public init?(_ text: String) {
    if text == "full" {
      self = .full
      return
    }
    guard let hyphen = text.firstIndex(of: "-") else { return nil }
    let (kind, rest) = (text[..<hyphen], text[text.index(after: hyphen)...])
    let parts = rest.split(separator: "=", omittingEmptySubsequences: false)
    guard let first = parts.first, parts.count == (kind == "noisy" ? 2 : 1) else { return nil }
    if kind == "adapter" && first == "none" {
      self = .adapter([])
      return
    }
    let known = Modality.media + (kind == "adapter" ? [Modality.text] : [])
    var modalities: [Modality] = []
    for word in first.split(separator: "+", omittingEmptySubsequences: false) {
      let modality = Modality(rawValue: String(word))
      guard known.contains(modality), !modalities.contains(modality) else { return nil }
      modalities.append(modality)
    }
    // One name for one condition, whatever the order it was written in.
    modalities.sort { (known.firstIndex(of: $0) ?? 0) < (known.firstIndex(of: $1) ?? 0) }
    switch kind {
    case "missing": self = .missing(modalities)
    case "deleted": self = .deleted(modalities)
    case "adapter": self = .adapter(modalities)
    case "noisy":
      guard let level = Double(String(parts[1])), level > 0, level <= Self.levelLimit else { return nil }
      self = .noisy(modalities, level: level)
    default: return nil
    }
  }

  /// Whether the condition is about an adapter.
  public var isAboutAdapters: Bool { if case .adapter = self { true } else { false } }

  /// The sample as it is asked; the same unless its media change.
  ///
  /// - Parameter seed: Keys the noise, with the index of the sample: the same in any batch.
  func changed(_ sample: Sample, seed: Int) -> Sample {
    var sample = sample
    switch self {
    case .full, .missing, .adapter: break
    case .deleted(let modalities):
      sample.media.removeAll { modalities.contains($0.modality) }
      sample.turns = sample.turns.map { turn in
        var text = turn.text
        for modality in modalities {
          let placeholder = "<\(modality.rawValue)>"
          text = text.replacing(placeholder + "\n", with: "").replacing(placeholder, with: "")
        }
        return Sample.Turn(speaker: turn.speaker, text: text)
      }
    case .noisy(let modalities, let level):
      sample.media = sample.media.enumerated().map { place, medium in
        guard modalities.contains(medium.modality) else { return medium }
        var stream = RandomStream(
          seed: seed, purpose: "eval.noise.\(medium.modality.rawValue)", step: place, id: sample.index)
        return medium.noisy(level: level, using: &stream)
      }
    }
    return sample
  }

  /// The embeddings of a prompt, `[positions, hidden]`.
  func embeddings(_ prompt: Prompt, _ model: any LanguageModel) -> Tensor {
    let embeddings = model.embeddings(prompt)
    guard case .missing(let modalities) = self else { return embeddings }
    var rows: [Int] = []
    var blanks: [Tensor] = []
    for span in prompt.spans.spans {
      guard let place = span.medium, let own = span.rows,
        modalities.contains(prompt.media[place].modality)
      else { continue }
      rows += span.positions
      blanks.append(model.blankEmbeddings(prompt.media[place]).slice(own))
    }
    return rows.isEmpty ? embeddings : embeddings.replacingRows(rows, with: Tensor.concatenated(blanks))
  }

  /// The modalities on whose prompt rows adapters act; nil for all rows.
  var adaptedModalities: Set<Modality>? {
    if case .adapter(let modalities) = self { Set(modalities) } else { nil }
  }
}

extension Medium {
  /// The same medium with noise of `level` standard deviations of its own values.
  func noisy(level: Double, using stream: inout RandomStream) -> Medium {
    switch values {
    case .numbers(let numbers):
      let scale = level * Self.deviation(numbers.lazy.map { Double($0) })
      let noisy = numbers.map { Float(Double($0) + scale * stream.normal()) }
      return Medium(
        modality: modality, shape: shape, values: .numbers(noisy), layout: layout, identity: identity)
    case .bytes(let bytes):
      let scale = level * Self.deviation(bytes.lazy.map { Double($0) })
      let noisy = bytes.map { byte in
        UInt8(min(255, max(0, (Double(byte) + scale * stream.normal()).rounded())))
      }
      return Medium(
        modality: modality, shape: shape, values: .bytes(noisy), layout: layout, identity: identity)
    }
  }

  private static func deviation(_ values: some Collection<Double>) -> Double {
    StreamingMoments(values).sampleStandardDeviation ?? 0
  }
}
