import PEFT
import RunKit
import TokenModel

/// The options of `mmprobe finetune` that rotate queries between passes over the data.
struct RebalanceOptions {
  /// The methods.
  enum Method: String, CaseIterable, Sendable { case rollingq }

  static let method = Option<Method?>.choice(
    "rebalance", "METHOD", absence: "none", "rotate queries between passes, experimental")
  static let layers = Option<[String]>.list(
    "rebalance-layers", "LIST", absence: "none", "layers whose queries are rotated, as in 2,3")
  static let modalities = Option<[String]>.list(
    "rebalance-modalities", "NAMES", absence: "the media of the model, with text if there is one",
    "modalities to balance")
  static let sharpness = Option<Double>.number(
    "rebalance-sharpness", in: .closed(0, 1_000_000), default: 1,
    "rho: how strongly the favoured one is held back"
  )
  static let threshold = Option<Double>.number(
    "rebalance-threshold", in: .closed(0, 2), default: 0, "beta: imbalance from which a head is rotated")
  static let limit = Option<Int>.integer(
    "rebalance-limit", in: 1...1_000_000, default: 1, "rotations of a head at most")
  static let rotation = Option<RollingQueryOptions.Rotation>.choice(
    "rebalance-rotation", "KIND", default: .minimal, "how queries are turned")
  static let balance = Option<RollingQueryOptions.Balance>.choice(
    "rebalance-balance", "OVER", default: .epoch, "what the imbalance is measured over")
  static let anchor = Option<RollingQueryOptions.Anchor>.choice(
    "rebalance-anchor", "KIND", default: .unit, "length of the anchor, for reset")
  static let declarations = [
    method.declaration, layers.declaration, modalities.declaration, sharpness.declaration,
    threshold.declaration, limit.declaration, rotation.declaration, balance.declaration, anchor.declaration,
  ]

  private let isOn: Bool
  private let layers: [Int]
  private let modalities: [Modality]
  private let options: RollingQueryOptions
  private let others: [String]

  init(_ arguments: Arguments) throws(UsageError) {
    isOn = try arguments[Self.method] != nil
    var layers: [Int] = []
    for word in try arguments[Self.layers] {
      guard let layer = Int(word), 0...4095 ~= layer else {
        throw .badValue(
          option: "--rebalance-layers", found: word, expected: "numbers from 0",
          command: FinetuneCommand.name)
      }
      layers.append(layer)
    }
    self.layers = layers
    let known = (Modality.media + [.text]).map(\.rawValue)
    var modalities: [Modality] = []
    for word in try arguments[Self.modalities] {
      guard known.contains(word) else {
        throw .badValue(
          option: "--rebalance-modalities", found: word,
          expected: "some of \(known.joined(separator: ", "))."
            + NameSuggestion.question(for: word, in: known),
          command: FinetuneCommand.name)
      }
      modalities.append(Modality(rawValue: word))
    }
    self.modalities = modalities
    var options = RollingQueryOptions()
    options.sharpness = try arguments[Self.sharpness]
    options.threshold = try arguments[Self.threshold]
    options.limit = try arguments[Self.limit]
    options.rotation = try arguments[Self.rotation]
    options.balance = try arguments[Self.balance]
    options.anchor = try arguments[Self.anchor]
    self.options = options
    others = Self.declarations.dropFirst().map { $0.name }.filter { arguments.isGiven(name: $0) }
  }

  /// Refuses settings without the method, and the method without layers.
  func validate() throws(UsageError) {
    if !isOn, let other = others.first {
      throw .conflict(reason: "--\(other) is for --rebalance", remedy: "add --rebalance rollingq")
    }
    if isOn && layers.isEmpty {
      throw .missingOption(option: "--rebalance-layers LIST", command: FinetuneCommand.name)
    }
  }

  /// What the training is to do; nil for nothing.
  ///
  /// - Parameter media: Of the model.
  func rebalancing(media: [Modality], seed: Int) -> FinetuneOptions.Rebalancing? {
    guard isOn else { return nil }
    var options = options
    options.seed = seed
    let usual = media.count > 1 ? media : media + [.text]
    return FinetuneOptions.Rebalancing(
      layers: layers, modalities: modalities.isEmpty ? usual : modalities, options: options)
  }
}

extension FinetuneOptions.Rebalancing {
  /// The settings, for the configuration of a run.
  var json: JSONValue {
    var object = options.json.objectValue ?? JSONObject()
    object["layers"] = .array(layers.map(JSONValue.integer))
    object["modalities"] = .array(modalities.map { .string($0.rawValue) })
    return .object(object)
  }
}
