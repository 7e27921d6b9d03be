import Foundation
import PEFT
import RunKit
import TokenModel

/// The adapter that a model is used with.
struct AdapterOptions {
  static let adapter = Option<String?>.text(
    "adapter", "FOLDER", notes: "default none; adapter_config.json, adapter_model.safetensors",
    "LoRA or MokA adapter to put into the model")
  static let declarations = [adapter.declaration]

  /// The folder of the adapter.
  let path: String?

  init(_ arguments: Arguments) throws(UsageError) { path = try arguments[Self.adapter] }

  /// Opens a model folder, with the adapter in the model if there is one.
  func checkpoint(_ model: String) throws -> Checkpoint {
    let checkpoint = try Support.checkpoint(model)
    guard let path else { return checkpoint }
    return try checkpoint.adapted(by: URL(fileURLWithPath: path, isDirectory: true))
  }
}
