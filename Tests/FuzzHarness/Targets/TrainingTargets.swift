import Foundation
import PEFT
import RunKit

private let options = #"""
  {"model": ".", "data": {"train": "a.jsonl", "validation": "b.jsonl"}, "steps": 60, "groups": 4,
   "optimizer": {"name": "adamw", "learning_rate": 0.002, "beta1": 0.9, "weight_decay": 0.05},
   "schedule": {"shape": "cosine", "warmup": 10, "floor": 0.01}, "clipping": {"norm": 1.0}, "average": 0.9,
   "initialization": {"matrix": 0.02}, "layouts": {"from": 0.4, "mix": [{"media": ["image"], "weight": 1}]},
   "needs": {"written": ["image"]}, "blanks": {"image": 0.1},
   "augmentation": {"same_label": true, "image": {"shift_probability": 0.5, "rows": 1}},
   "qk_norm": false, "z_loss": 0.1, "dropout": 0.1, "patience": 3}
  """#

extension FuzzTarget {
  /// The options of a training.
  static let training = FuzzTarget(
    "training", file: "train.json",
    layout: .json(words: ["steps", "model", "image", "adamw", "sgd", "nesterov", "step", "interval", "media"]
    ),
    errors: [ExperimentError.self], seeds: [[UInt8](options.utf8)],
    directed: [
      "{", "[]", #"{"model": "."}"#, options.replacing(#""steps": 60"#, with: #""steps": "60""#),
      options.replacing(#""steps": 60"#, with: #""steps": 0"#),
      options.replacing(#""steps": 60"#, with: #""stesp": 60"#),
      options.replacing(#""image"]"#, with: #""smell"]"#),
      options.replacing(#""adamw""#, with: #""adamw2""#),
      options.replacing(#""weight": 1"#, with: #""weight": 0"#),
    ].map { [UInt8]($0.utf8) },
    read: { path in _ = try TrainingConfiguration(URL(fileURLWithPath: path)) })
}
