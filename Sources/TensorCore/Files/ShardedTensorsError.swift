public import RunKit

/// Why the weights of a model folder were refused, beyond the faults of one file.
public enum ShardedTensorsError: DescribedError {
  case noWeights(path: String, expected: String)
  case indexTooLong(path: String, found: Int, limit: Int)
  case indexNotJSON(path: String, reason: JSONError)
  case badTotalSize(path: String, found: String)
  case noWeightMap(path: String)
  case badEntry(path: String, tensor: String, found: String)
  case shardNotAName(path: String, tensor: String, shard: String)
  case missingShard(path: String, shard: String)
  case shardOutsideFolder(path: String, shard: String, target: String)
  case duplicateTensor(path: String, tensor: String)
  case missingTensor(path: String, tensor: String, shard: String)
  case unlistedTensor(path: String, tensor: String)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case noWeights = "shards_no_weights"
    case indexTooLong = "shards_index_too_long"
    case indexNotJSON = "shards_index_not_json"
    case badTotalSize = "shards_bad_total_size"
    case noWeightMap = "shards_no_weight_map"
    case badEntry = "shards_bad_entry"
    case shardNotAName = "shards_not_a_name"
    case missingShard = "shards_missing_shard"
    case shardOutsideFolder = "shards_outside_folder"
    case duplicateTensor = "shards_duplicate_tensor"
    case missingTensor = "shards_missing_tensor"
    case unlistedTensor = "shards_unlisted_tensor"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .noWeights: .noWeights
    case .indexTooLong: .indexTooLong
    case .indexNotJSON: .indexNotJSON
    case .badTotalSize: .badTotalSize
    case .noWeightMap: .noWeightMap
    case .badEntry: .badEntry
    case .shardNotAName: .shardNotAName
    case .missingShard: .missingShard
    case .shardOutsideFolder: .shardOutsideFolder
    case .duplicateTensor: .duplicateTensor
    case .missingTensor: .missingTensor
    case .unlistedTensor: .unlistedTensor
    }
  }

  /// The status a command ends with.
  public var exitStatus: ExitStatus {
    switch self {
    case .noWeights, .missingShard: .missingInput
    default: .data
    }
  }

  /// The file concerned.
  public var path: String? {
    switch self {
    case .noWeights(let path, _), .indexTooLong(let path, _, _), .indexNotJSON(let path, _),
      .badTotalSize(let path, _), .noWeightMap(let path), .badEntry(let path, _, _),
      .shardNotAName(let path, _, _), .missingShard(let path, _), .shardOutsideFolder(let path, _, _),
      .duplicateTensor(let path, _), .missingTensor(let path, _, _), .unlistedTensor(let path, _):
      path
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? { "\(path ?? ""): \(finding)" }

  /// What was found and what was expected.
  private var finding: String {
    switch self {
    case .noWeights(_, let expected): "found no weights, expected \(expected) or \(expected).index.json"
    case .indexTooLong(_, let found, let limit): "found an index of \(found) bytes, expected at most \(limit)"
    case .indexNotJSON(_, let reason): "the index is \(reason.errorDescription ?? "not JSON")"
    case .badTotalSize(_, let found): "found \(found) as total_size, expected a number of bytes"
    case .noWeightMap: "found no entries in weight_map, expected an object from tensor to file name"
    case .badEntry(_, let tensor, let found):
      "weight_map: found \(found) for tensor \(tensor.inQuotes), expected a file name"
    case .shardNotAName(_, let tensor, let shard):
      "weight_map: found \(shard.inQuotes) for tensor \(tensor.inQuotes), expected a plain file name"
    case .missingShard(_, let shard): "the file \(shard.inQuotes) it names is not in the folder"
    case .shardOutsideFolder(_, let shard, let target):
      "the file \(shard.inQuotes) is a link that leaves the folder, to \(target)"
    case .duplicateTensor(_, let tensor): "tensor \(tensor.inQuotes) is in two files"
    case .missingTensor(_, let tensor, let shard):
      "tensor \(tensor.inQuotes) should be in \(shard.inQuotes), but is not"
    case .unlistedTensor(_, let tensor): "tensor \(tensor.inQuotes) is in a file, but not in weight_map"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .noWeights:
      "name a model folder with safetensors weights; `.bin` checkpoints (pickles) must be converted first"
    case .missingShard: "fetch the missing file; the index and all files must come from one export"
    case .shardOutsideFolder: "copy the file into the folder"
    case .shardNotAName:
      "do not use this index unless you trust it; file names must not lead out of the folder"
    default: "fetch or export the model again; the index and all files must come from one export"
    }
  }
}
