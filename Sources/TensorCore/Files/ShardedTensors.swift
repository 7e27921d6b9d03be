import Foundation
import RunKit

/// The weights of a model folder, in one file or several, looked up by name.
///
/// `model.safetensors` is taken if it is there; otherwise `model.safetensors.index.json`, whose `weight_map` says
/// which file ("shard") holds which tensor. A shard is a file of the same folder: an index is only data and must not
/// lead elsewhere.
public struct ShardedTensors: Sendable {
  /// The longest index accepted, in bytes: twice that of the largest models.
  public static let indexLimit = 1 << 25

  /// The model folder.
  public let folder: String
  /// The files read, ordered by name.
  public let files: [SafetensorsFile]
  /// Every tensor, ordered by the bytes of its name.
  public let tensors: [StoredTensor]

  /// Opens the weights of a model folder.
  ///
  /// - Parameters:
  ///   - folder: The path of the folder.
  ///   - baseName: What the files are named before `.safetensors`.
  /// - Throws: `FileError`, `SafetensorsError` or `ShardedTensorsError`.
  public init(folder: String, baseName: String = "model") throws {
    let single = "\(folder)/\(baseName).safetensors"
    let index = "\(single).index.json"
    if FileManager.default.fileExists(atPath: single) {
      try self.init(folder: folder, files: [SafetensorsFile(path: single)])
    } else if FileManager.default.fileExists(atPath: index) {
      try self.init(folder: folder, index: index)
    } else {
      throw ShardedTensorsError.noWeights(path: folder, expected: "\(baseName).safetensors")
    }
  }

  private init(folder: String, files: [SafetensorsFile]) {
    self.folder = folder
    self.files = files
    self.tensors = files.flatMap(\.tensors).sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
  }

  private init(folder: String, index path: String) throws {
    let index = try ShardIndex(path: path)
    var files: [SafetensorsFile] = []
    for shard in index.shards {
      try ShardIndex.checkPlace(of: shard, in: folder, index: path)
      files.append(try SafetensorsFile(path: "\(folder)/\(shard)"))
    }
    self.init(folder: folder, files: files)
    try index.check(files, against: tensors)
  }

  /// The names of the tensors, ordered by their bytes.
  public var names: [String] { tensors.map(\.name) }

  /// The tensor of this name, or nil.
  public subscript(name: String) -> StoredTensor? { tensors.named(name) }

  /// The tensor of this name.
  ///
  /// - Throws: `SafetensorsError.missingTensor`.
  public func tensor(_ name: String) throws(SafetensorsError) -> StoredTensor {
    guard let tensor = self[name] else {
      throw .missingTensor(path: folder, tensor: name, count: tensors.count)
    }
    return tensor
  }
}
