public import RunKit

/// Why a packed data set cannot be read or used.
public enum PackedDataError: DescribedError {
  /// The folder has no manifest.
  case notPacked(path: String)
  /// `key` is not as expected.
  case badManifest(path: String, key: String, expected: String)
  case missingShard(path: String, split: String)
  /// A shard is not what the manifest says.
  case wrongShard(path: String, what: String, found: String, expected: String)
  case unknownModality(path: String, name: String, known: [String])
  /// Nothing here can take a modality of this kind as input.
  case noEncoder(path: String, modality: String, summary: String)
  case emptySplit(path: String, split: String)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case notPacked = "packed_no_manifest"
    case badManifest = "packed_bad_manifest"
    case missingShard = "packed_missing_shard"
    case wrongShard = "packed_wrong_shard"
    case unknownModality = "packed_unknown_modality"
    case noEncoder = "packed_no_encoder"
    case emptySplit = "packed_empty_split"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .notPacked: .notPacked
    case .badManifest: .badManifest
    case .missingShard: .missingShard
    case .wrongShard: .wrongShard
    case .unknownModality: .unknownModality
    case .noEncoder: .noEncoder
    case .emptySplit: .emptySplit
    }
  }

  /// 66 for what is not there, 69 for what cannot be encoded, 65 for the rest.
  public var exitStatus: ExitStatus {
    switch self {
    case .notPacked, .missingShard: .missingInput
    case .noEncoder: .unsupported
    default: .data
    }
  }

  /// The file or folder concerned.
  public var path: String? {
    switch self {
    case .notPacked(let path), .badManifest(let path, _, _), .missingShard(let path, _),
      .wrongShard(let path, _, _, _), .unknownModality(let path, _, _), .noEncoder(let path, _, _),
      .emptySplit(let path, _):
      path
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .notPacked(let path): "\(path): the folder has no manifest.json, so it is no packed data set"
    case .badManifest(let path, let key, let expected):
      "\(path): \(key.inQuotes) is not as it must be, expected \(expected.shown(limit: 300))"
    case .missingShard(let path, let split): "\(path): the file with samples of \(split.inQuotes) is missing"
    case .wrongShard(let path, let what, let found, let expected):
      "\(path): \(what.shown()) is \(found.shown()), the manifest says \(expected.shown())"
    case .unknownModality(let path, let name, let known):
      "\(path): the data set has no modality \(name.inQuotes), it has \(known.joined(separator: ", ").shown())"
    case .noEncoder(let path, let modality, let summary):
      "\(path): no encoder takes the modality \(modality.inQuotes), which is \(summary)"
    case .emptySplit(let path, let split): "\(path): the split \(split.inQuotes) has no sample"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .notPacked: "make one: 'mmprobe data pack LAYOUT FOLDER -o PACKED'"
    case .badManifest, .missingShard, .wrongShard:
      "pack the data set again, or copy the folder again from its source"
    case .unknownModality: "change the modalities of the experiment"
    case .noEncoder:
      "name an encoder for it in 'encoders' of the experiment: resnet18 or vit for frames, transformer for sequences, bert for text"
    case .emptySplit: "pack the data set again with samples for every split; '--validation' makes one"
    }
  }
}
