public import RunKit

/// An experiment that comes with the program.
public enum BenchPreset: String, CaseIterable, Sendable {
  case avdigits
  case avdigitsThree = "avdigits-three"
  case avdigitsTransformer = "avdigits-transformer"
  case cremad = "cremad-resnet18"
  case kineticsSounds = "kinetics-sounds-resnet18"
  case vggsound = "vggsound-resnet18"
  case balancedAV = "balancedav-resnet18"
  case ucf101 = "ucf101-resnet18"
  case food101 = "food101-resnet18-bert"
  case food101Towers = "food101-vit-bert"
  case mosei = "mosei-transformer"
  case moseiCorrected = "mosei-transformer-corrected"

  /// What it does, in one line.
  public var summary: String {
    switch self {
    case .avdigits: "every method on the images and sounds of AVDigits, 10 seeds"
    case .avdigitsThree: "every method on the images, sounds and clues of AVDigits, 10 seeds"
    case .avdigitsTransformer: "every method on the images and sounds of AVDigits with transformers, 10 seeds"
    default:
      "every method on \(modalities.joined(separator: ", ")) of \(data), "
        + modalities.map(backbone).joined(separator: " and ") + ", 5 seeds"
    }
  }

  private var isAVDigits: Bool { data == "datasets/avdigits" }

  /// The folder of the data; those of `mmprobe data pack` below `packed`.
  private var data: String {
    switch self {
    case .avdigits, .avdigitsThree, .avdigitsTransformer: "datasets/avdigits"
    case .cremad: "packed/cremad"
    case .kineticsSounds: "packed/kinetics-sounds"
    case .vggsound: "packed/vggsound"
    case .balancedAV: "packed/balancedav"
    case .ucf101: "packed/ucf101"
    case .food101, .food101Towers: "packed/food101"
    case .mosei, .moseiCorrected: "packed/mosei"
    }
  }

  private var modalities: [String] {
    switch self {
    case .avdigits, .avdigitsTransformer: ["image", "audio"]
    case .avdigitsThree: ["image", "audio", "text"]
    case .cremad, .kineticsSounds, .vggsound, .balancedAV: ["audio", "visual"]
    case .ucf101: ["visual", "flow"]
    case .food101, .food101Towers: ["text", "visual"]
    case .mosei, .moseiCorrected: ["audio", "vision", "text"]
    }
  }

  /// The encoder of a modality.
  private func backbone(_ modality: String) -> String {
    switch self {
    case .avdigits, .avdigitsThree: "default"
    case .avdigitsTransformer, .moseiCorrected: "transformer-corrected"
    case .mosei: "transformer"
    case .food101: modality == "text" ? "bert" : "resnet18"
    case .food101Towers: modality == "text" ? "bert" : "vit"
    default: "resnet18"
    }
  }

  /// The encoder of a modality with its options.
  private func encoder(_ modality: String) -> JSONValue {
    let type = JSONValue.string(backbone(modality))
    switch (self, modality) {
    case (.avdigitsTransformer, _):
      return ["type": type, "layers": 2, "width": 64, "heads": 4, "inner": 128, "dropout": 0.1]
    // Of the size of ResNet18's, which heads that are shared need.
    case (.food101, "text"):
      return ["type": type, "folder": "models/bert-base-uncased", "length": 40, "features": 512]
    case (.food101Towers, "text"): return ["type": type, "folder": "models/bert-base-uncased", "length": 40]
    case (.food101Towers, _): return ["type": type, "folder": "models/vit-base-patch16-224"]
    default: return ["type": type]
    }
  }

  /// How it is trained.
  ///
  /// AVDigits as its own README says: 50 epochs of batches of 64, SGD at 0.01 with momentum 0.9 and weight decay 1e-4, a
  /// tenth of the rate after 35 epochs; the last weights are tested. The others as the paper of BalanceBenchmark
  /// (arXiv:2502.10816, section 5.2): SGD with momentum 0.9 and weight decay 1e-4, batches of 64, 70 epochs, a tenth of the
  /// rate every 30; rates by data set. It has AdamW for VGGSound, with batches of 32, 30 epochs and a tenth every 10; here
  /// the optimizer is SGD there too. It chooses weights by test samples, this by validation samples.
  ///
  /// - Parameter isQuick: AVDigits with half the epochs.
  private func training(isQuick: Bool) -> JSONValue {
    var plan = JSONObject([
      ("epochs", 70), ("batch_size", 64), ("learning_rate", 0.001), ("momentum", 0.9), ("weight_decay", 1e-4),
      ("decay_interval", 30), ("decay_factor", 0.1), ("selection", "validation"),
    ])
    switch self {
    case .avdigits, .avdigitsThree, .avdigitsTransformer:
      plan["epochs"] = isQuick ? 25 : 50
      plan["learning_rate"] = 0.01
      plan["decay_interval"] = isQuick ? 18 : 35
      plan["selection"] = "last"
    case .vggsound:
      plan["epochs"] = 30
      plan["batch_size"] = 32
      plan["decay_interval"] = 10
    case .balancedAV: plan["learning_rate"] = 0.005
    case .ucf101, .mosei, .moseiCorrected: plan["learning_rate"] = 0.01
    case .cremad, .kineticsSounds, .food101, .food101Towers: break
    }
    return .object(plan)
  }

  /// The experiment as a file would hold it.
  ///
  /// The network of AVDigits is not that of its README, see `Documentation/Benchmark.md`. Every method has the options of
  /// its paper.
  ///
  /// - Parameter isQuick: Three seeds, and AVDigits with half the epochs.
  public func experiment(isQuick: Bool) -> JSONValue {
    let solo: [JSONValue] = modalities.map {
      ["id": .string(Unimodal.id), "label": .string("only-\($0)"), "modality": .string($0)]
    }
    let others = MethodCatalog.types.map { $0.id }.filter { $0 != Joint.id && $0 != Unimodal.id }
    let composed: [JSONValue] = isAVDigits ? [["id": "opm+ogm-ge"]] : []
    let methods: [JSONValue] =
      [["id": .string(Joint.id)]] + solo + others.map { ["id": .string($0)] } + composed
    let encoders = JSONObject(modalities.map { ($0, encoder($0)) })
    return [
      "data": .string(data), "modalities": .array(modalities.map(JSONValue.string)),
      "encoders": .object(encoders), "seeds": .integer(isQuick ? 3 : isAVDigits ? 10 : 5),
      "reference": .string(Joint.id), "training": training(isQuick: isQuick), "methods": .array(methods),
    ]
  }
}
