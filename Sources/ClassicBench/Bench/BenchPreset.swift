public import RunKit

/// An experiment that comes with the program.
public enum BenchPreset: String, CaseIterable, Sendable {
  case avdigits
  case avdigitsThree = "avdigits-three"

  /// What it does, in one line.
  public var summary: String {
    switch self {
    case .avdigits: "every method on the images and sounds of AVDigits, 10 seeds"
    case .avdigitsThree: "every method on the images, sounds and clues of AVDigits, 10 seeds"
    }
  }

  private var modalities: [String] {
    switch self {
    case .avdigits: ["image", "audio"]
    case .avdigitsThree: ["image", "audio", "text"]
    }
  }

  /// The experiment as a file would hold it.
  ///
  /// The training is that of the data set's own README: 50 epochs of batches of 64, SGD at 0.01 with momentum 0.9 and weight
  /// decay 1e-4, a tenth of the rate after 35 epochs. Every method has the options of its paper.
  ///
  /// - Parameter isQuick: Three seeds.
  public func experiment(isQuick: Bool) -> JSONValue {
    let solo: [JSONValue] = modalities.map {
      ["id": .string(Unimodal.id), "label": .string("only-\($0)"), "modality": .string($0)]
    }
    let others = MethodCatalog.types.map { $0.id }.filter { $0 != Joint.id && $0 != Unimodal.id }
    let methods: [JSONValue] = [["id": .string(Joint.id)]] + solo + others.map { ["id": .string($0)] }
    return [
      "data": "datasets/avdigits", "modalities": .array(modalities.map(JSONValue.string)),
      "seeds": .integer(isQuick ? 3 : 10), "reference": .string(Joint.id),
      "training": [
        "epochs": 50, "batch_size": 64, "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 1e-4,
        "decay_interval": 35, "decay_factor": 0.1,
      ],
      "methods": .array(methods),
    ]
  }
}
