import Foundation
import RunKit

/// The contents of `model.safetensors.index.json`.
struct ShardIndex {
  private let path: String
  /// File name by tensor name, in the order of the index.
  private let weightMap: [(tensor: String, shard: String)]

  init(path: String) throws {
    let file = try MappedFile(path: path)
    guard file.count <= ShardedTensors.indexLimit else {
      throw ShardedTensorsError.indexTooLong(path: path, found: file.count, limit: ShardedTensors.indexLimit)
    }
    let document: JSONValue
    do {
      document = try JSONValue(parsing: file.bytes(0..<file.count), depthLimit: 16)
    } catch {
      throw ShardedTensorsError.indexNotJSON(path: path, reason: error)
    }
    // Not compared with the files: writers count tied tensors once or twice and leave it stale after edits.
    if let size = document["metadata"]?["total_size"], (size.doubleValue ?? -1) < 0 {
      throw ShardedTensorsError.badTotalSize(path: path, found: size.kind)
    }
    guard let map = document["weight_map"]?.objectValue, !map.members.isEmpty else {
      throw ShardedTensorsError.noWeightMap(path: path)
    }
    var entries: [(tensor: String, shard: String)] = []
    for (tensor, value) in map.members {
      guard let shard = value.stringValue else {
        throw ShardedTensorsError.badEntry(path: path, tensor: tensor, found: value.kind)
      }
      guard Self.isPlainName(shard) else {
        throw ShardedTensorsError.shardNotAName(path: path, tensor: tensor, shard: shard)
      }
      entries.append((tensor, shard))
    }
    self.path = path
    self.weightMap = entries
  }

  /// The files named, each once, ordered by name.
  var shards: [String] {
    var names: [[UInt8]: String] = [:]
    for (_, shard) in weightMap { names[[UInt8](shard.utf8)] = shard }
    return names.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map(\.value)
  }

  /// Whether `shard` can only mean a file directly in the folder, on any system.
  private static func isPlainName(_ shard: String) -> Bool {
    let isPlain = shard.unicodeScalars.allSatisfy { $0.value >= 0x20 && !["/", "\\", ":"].contains($0) }
    return isPlain && !shard.isEmpty && shard != "." && shard != ".." && shard.utf8.count <= 255
  }

  /// Checks that a shard exists and that no symbolic link leads out of the model's own files.
  ///
  /// The download cache of the Hugging Face Hub keeps contents in `blobs` and links to them from
  /// `snapshots/<revision>`, the model folder: links from there into that `blobs` are its normal form.
  static func checkPlace(of shard: String, in folder: String, index: String) throws(ShardedTensorsError) {
    let file = URL(fileURLWithPath: folder).appendingPathComponent(shard)
    guard FileManager.default.fileExists(atPath: file.path) else {
      throw .missingShard(path: index, shard: shard)
    }
    let target = file.resolvingSymlinksInPath()
    let home = URL(fileURLWithPath: folder).resolvingSymlinksInPath()
    var allowed = [home.path]
    let snapshots = home.deletingLastPathComponent()
    if snapshots.lastPathComponent == "snapshots" {
      allowed.append(snapshots.deletingLastPathComponent().appendingPathComponent("blobs").path)
    }
    guard allowed.contains(target.deletingLastPathComponent().path) else {
      throw .shardOutsideFolder(path: index, shard: shard, target: target.path)
    }
  }

  /// Checks that map and files say the same: each tensor once, where the map says, and none besides.
  func check(_ files: [SafetensorsFile], against tensors: [StoredTensor]) throws(ShardedTensorsError) {
    for (tensor, next) in zip(tensors, tensors.dropFirst())
    where tensor.name.utf8.elementsEqual(next.name.utf8) {
      throw .duplicateTensor(path: path, tensor: tensor.name)
    }
    var filesByShard: [[UInt8]: SafetensorsFile] = [:]
    for (shard, file) in zip(shards, files) { filesByShard[[UInt8](shard.utf8)] = file }
    for (tensor, shard) in weightMap where filesByShard[[UInt8](shard.utf8)]?[tensor] == nil {
      throw .missingTensor(path: path, tensor: tensor, shard: shard)
    }
    guard tensors.count > weightMap.count else { return }
    let listed = Set(weightMap.map { [UInt8]($0.tensor.utf8) })
    for tensor in tensors where !listed.contains([UInt8](tensor.name.utf8)) {
      throw .unlistedTensor(path: path, tensor: tensor.name)
    }
  }
}
