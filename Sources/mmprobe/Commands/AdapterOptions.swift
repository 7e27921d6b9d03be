import Analysis
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

  /// The adapter as records of runs name it: by its folder and the one around that.
  ///
  /// - Parameter files: The files of the model with their hashes, those of the adapter among them.
  func description(_ files: [AttentionContext.HashedFile]) throws -> [AttentionContext.Adapter] {
    guard let path else { return [] }
    let folder = URL(fileURLWithPath: path, isDirectory: true).standardizedFileURL
    let configuration = try StoredAdapter.configuration(of: folder)
    let weights = files.first { $0.name == "adapter/" + StoredAdapter.tensorsName }
    return [
      .init(
        name: folder.pathComponents.suffix(2).joined(separator: "/"), type: configuration.type,
        scale: configuration.scale, sha256: weights?.sha256 ?? "")
    ]
  }

  /// Opens a model folder, with the adapter in the model if there is one.
  func checkpoint(_ model: String) throws -> Checkpoint {
    let checkpoint = try Support.checkpoint(model)
    guard let path else { return checkpoint }
    let folder = URL(fileURLWithPath: path, isDirectory: true)
    for name in ["last", "best"]
    where !exists(folder, StoredAdapter.configurationName)
      && exists(folder, "\(name)/\(StoredAdapter.configurationName)")
    {
      throw UsageError.conflict(
        reason: "--adapter \(path) is the folder of a run", remedy: "give the adapter in it: \(path)/\(name)")
    }
    return try checkpoint.adapted(by: folder)
  }

  private func exists(_ folder: URL, _ name: String) -> Bool {
    FileManager.default.fileExists(atPath: folder.appendingPathComponent(name).path)
  }
}
