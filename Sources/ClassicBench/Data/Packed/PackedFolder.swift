public import Foundation
public import RunKit
import TensorCore
import TokenModel

/// A packed data set: `manifest.json` and shards of safetensors, mapped.
///
/// A shard holds, for some samples that follow each other, one tensor for each modality:
///
/// | kind | tensors of modality `m` |
/// | --- | --- |
/// | pictures | `m`, U8 `[samples, frames, side, side, channels]` |
/// | features | `m`, F32 `[samples] + shape` |
/// | sequence | `m`, F32 `[steps of all samples, size]`; `m.offsets`, I64 `[samples + 1]`, the first 0 |
/// | text | `m`, U8 `[bytes of all samples]`; `m.offsets` likewise |
///
/// Opening reads no data: it compares the header of every shard with the manifest. `problems()` compares the hashes.
public struct PackedFolder: Sendable {
  /// The name of the manifest in the folder.
  public static let manifestName = "manifest.json"
  private static let manifestLimit = 1 << 28

  /// The folder.
  public let url: URL
  /// What the manifest says.
  public let manifest: PackedManifest
  private let manifestHash: String
  /// For each split, its shards.
  private let shards: [[SafetensorsFile]]

  /// Whether a folder has a manifest.
  public static func isPacked(_ folder: URL) -> Bool {
    FileManager.default.fileExists(atPath: folder.appendingPathComponent(manifestName).path)
  }

  /// Opens a folder and checks it against its manifest.
  ///
  /// - Throws: `PackedDataError`, `SafetensorsError`, `FileError`.
  public init(_ folder: URL) throws {
    let place = folder.appendingPathComponent(Self.manifestName)
    guard Self.isPacked(folder) else { throw PackedDataError.notPacked(path: folder.path) }
    let bytes = try FileReader.bytes(of: place, limit: Self.manifestLimit)
    let manifest = try PackedManifest(path: place.path, bytes: bytes)
    url = folder
    manifestHash = SHA256.hexadecimal(of: bytes)
    shards = try manifest.splits.map { split in
      try split.shards.map { try Self.open($0, of: split.name, in: folder, manifest.modalities) }
    }
    self.manifest = manifest
  }

  /// The name of the tensor of offsets.
  static func offsets(_ modality: String) -> String { modality + ".offsets" }

  private static func open(
    _ shard: PackedManifest.Shard, of split: String, in folder: URL, _ modalities: [PackedModality]
  ) throws -> SafetensorsFile {
    let path = folder.appendingPathComponent(shard.file).path
    guard FileManager.default.fileExists(atPath: path) else {
      throw PackedDataError.missingShard(path: path, split: split)
    }
    let size = try FileReader.size(of: URL(fileURLWithPath: path))
    guard size == shard.bytes else {
      throw PackedDataError.wrongShard(
        path: path, what: "the size", found: "\(size) bytes", expected: "\(shard.bytes)")
    }
    let file = try SafetensorsFile(path: path)
    try check(file, samples: shard.samples, modalities)
    return file
  }

  /// Compares the tensors of a shard with what it must hold.
  ///
  /// - Throws: `PackedDataError.wrongShard`.
  static func check(_ file: SafetensorsFile, samples: Int, _ modalities: [PackedModality]) throws {
    func need(_ what: String, _ found: String, _ expected: String) throws {
      if found != expected {
        throw PackedDataError.wrongShard(path: file.path, what: what, found: found, expected: expected)
      }
    }
    let wanted = modalities.flatMap { $0.isFixed ? [$0.name] : [$0.name, offsets($0.name)] }
    try need(
      "the list of tensors", file.names.sorted().joined(separator: ", "),
      wanted.sorted().joined(separator: ", "))
    for modality in modalities {
      let tensor = try file.tensor(modality.name)
      let type: ElementType = modality.kind == .pictures || modality.kind == .text ? .u8 : .f32
      var rows = samples
      if !modality.isFixed {
        let stored = try file.tensor(offsets(modality.name))
        try need(
          "the type of \(stored.name)", "\(stored.elementType.rawValue) \(stored.shape)",
          "I64 [\(samples + 1)]")
        let places = try stored.integers()
        rows = places.last ?? 0
        guard places.first == 0, zip(places, places.dropFirst()).allSatisfy({ $0 <= $1 }) else {
          throw PackedDataError.wrongShard(
            path: file.path, what: stored.name, found: "a list that does not rise from 0",
            expected: "rising from 0")
        }
      }
      let shape = modality.isFixed ? [samples] + modality.shape : [rows] + modality.shape
      try need(
        "the type of \(modality.name)", "\(tensor.elementType.rawValue) \(tensor.shape)",
        "\(type.rawValue) \(shape)")
    }
  }

  /// Bytes of all shards.
  public var byteCount: Int {
    manifest.splits.reduce(0) { $0 + $1.shards.reduce(0) { $0 + $1.bytes } }
  }

  /// Every shard whose hash is not that of the manifest, and every one with numbers that are not finite.
  ///
  /// - Parameter progress: Told the shards that are done, and of how many.
  /// - Throws: `FileError`.
  public func problems(progress: (Int, Int) -> Void = { _, _ in }) throws -> [DataProblem] {
    var problems: [DataProblem] = []
    let all = zip(manifest.splits, shards).flatMap { split, files in Array(zip(split.shards, files)) }
    for (index, (shard, file)) in all.enumerated() {
      let found = try SHA256.hexadecimal(ofFile: URL(fileURLWithPath: file.path))
      if found != shard.sha256.lowercased() {
        problems.append(
          DataProblem(
            .hashMismatch, path: file.path,
            "SHA-256 is \(found.prefix(16))…, the manifest says \(shard.sha256.prefix(16))…"))
      }
      for tensor in file.tensors where try !tensor.isFinite() {
        problems.append(
          DataProblem(.notFinite, path: file.path, "tensor \(tensor.name.inQuotes) holds NaN or infinity"))
      }
      progress(index + 1, all.count)
    }
    return problems
  }

  /// The data of some modalities for a benchmark.
  ///
  /// - Throws: `PackedDataError.unknownModality`, `.noEncoder`, `.emptySplit`, and as `EncoderChoice.prepared(for:)`.
  func data(_ wanted: [Modality], _ encoders: EncoderChoices = .standard) throws -> ClassicData {
    let known = manifest.modalities.map(\.name)
    let chosen = try wanted.map { modality in
      guard let entry = manifest.modalities.first(where: { $0.name == modality.rawValue }) else {
        throw PackedDataError.unknownModality(path: url.path, name: modality.rawValue, known: known)
      }
      return entry
    }
    let prepared = try encoders.prepared(for: chosen.map(input))
    for split in manifest.splits where split.ids.isEmpty {
      throw PackedDataError.emptySplit(path: url.path, split: split.name)
    }
    let splits = try manifest.splits.indices.map { index in
      ClassicSplit(
        rows: try zip(chosen, prepared).map { try rows($0, of: index, for: $1) },
        labels: manifest.splits[index].labels)
    }
    let hashes =
      [(Self.manifestName, JSONValue.string(manifestHash))] + (try EncoderChoices.hashes(prepared, wanted))
    return ClassicData(
      name: manifest.name, modalities: wanted, encoders: prepared.map(\.encoder), classes: manifest.classes,
      training: splits[0], validation: splits[1], test: splits[2], hashes: JSONObject(hashes))
  }

  /// What an encoder can be chosen by.
  private func input(_ modality: PackedModality) throws -> ModalityInput {
    let form: ModalityInput.Form
    switch modality.kind {
    case .pictures: form = .numbers(modality.inputShape, stepsAreColumns: false)
    case .features:
      // The rows of log-mel energies are steps, the columns of a spectrogram.
      let isSpectrogram = manifest.recipe["sound"] == .string(DataRecipe.Sound.logSpectrogram.rawValue)
      form = .numbers(modality.inputShape, stepsAreColumns: isSpectrogram)
    case .sequence:
      let offsets = try shards.indices.flatMap { try sequences(modality.name, of: $0).map(\.offsets) }
      let longest = offsets.flatMap { zip($0, $0.dropFirst()).map { $1 - $0 } }.max() ?? 1
      form = .sequence(size: modality.shape[0], longest: max(1, longest))
    case .text: form = .text(words: [:])
    }
    return ModalityInput(path: url.path, name: modality.name, form: form, summary: modality.summary)
  }

  /// The tensors of samples of different lengths in the shards of a split, and where each sample begins.
  private func sequences(_ name: String, of split: Int) throws -> [(values: StoredTensor, offsets: [Int])] {
    try shards[split].map { file in
      (try file.tensor(name), try file.tensor(Self.offsets(name)).integers())
    }
  }

  /// The inputs of one modality of a split.
  private func rows(
    _ modality: PackedModality, of split: Int, for encoder: PreparedEncoder
  ) throws -> any SampleRows {
    if modality.isFixed {
      return PackedRows(modality, shards[split].compactMap { $0[modality.name] })
    }
    let sequences = try sequences(modality.name, of: split)
    if modality.kind == .sequence { return SequenceRows(sequences, shape: encoder.encoder.inputShape) }
    let texts = sequences.flatMap { values, offsets in
      zip(offsets, offsets.dropFirst()).map { String(decoding: values.slice($0..<$1).bytes(), as: UTF8.self) }
    }
    guard case .tokens(let tokens) = encoder.text else {
      throw PackedDataError.noEncoder(path: url.path, modality: modality.name, summary: modality.summary)
    }
    return HeldRows(try tokens.inputs(texts))
  }
}

extension PackedFolder {
  /// What the folder holds, without ids and labels.
  public var summary: JSONValue {
    let splits = manifest.splits.map { split -> JSONValue in
      var counts = [Int](repeating: 0, count: manifest.classes.count)
      for label in split.labels { counts[label] += 1 }
      return [
        "name": .string(split.name), "samples": .integer(split.ids.count),
        "shards": .integer(split.shards.count),
        "samples_of_classes": .array(counts.map(JSONValue.integer)),
      ]
    }
    return [
      "name": .string(manifest.name), "classes": .array(manifest.classes.map(JSONValue.string)),
      "bytes": .integer(byteCount), "modalities": .array(manifest.modalities.map(\.json)),
      "splits": .array(splits), "recipe": .object(manifest.recipe), "manifest_sha256": .string(manifestHash),
    ]
  }
}
