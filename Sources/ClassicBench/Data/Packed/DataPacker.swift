import Dispatch
public import Foundation
public import RunKit
import Synchronization
import TensorCore

/// Writes a packed data set: shard after shard, each whole or not at all, and the manifest last.
///
/// While it is made, `packing.json` in the folder names the plan (samples, labels, files with their sizes, recipe). A
/// packing that was stopped, killed or ran into a full disk goes on behind its last whole shard if the plan is the same.
/// One shard is in memory at a time, 64 MiB unless a sample is larger.
public struct DataPacker {
  /// What became of it.
  public enum Outcome {
    /// Everything is packed.
    case complete(PackedFolder)
    /// An interrupt stopped it; it can be resumed.
    case stopped
  }

  private static let planName = "packing.json"
  private static let shardBytes = 1 << 26
  private static let samplesPerShard = 1 << 14

  private let name: String
  private let listing: DataListing
  private let reader: PartReader
  private let modalities: [PackedModality]

  /// Prepares to pack what was listed.
  ///
  /// - Parameter name: What the data set is called in results.
  /// - Throws: `PackingError.problems` if something stands in the way.
  public init(_ listing: DataListing, name: String) throws {
    let blocking = listing.blockingProblems
    if let first = blocking.first {
      throw PackingError.problems(
        path: listing.folder.path, count: blocking.count, first: first.text, layout: listing.layout,
        canSkip: blocking.allSatisfy(\.isOfOneSample))
    }
    (self.name, self.listing) = (name, listing)
    reader = PartReader(listing.recipe)
    modalities = listing.modalities
  }

  /// Where the samples of one shard are.
  private struct Span {
    let split: Int
    let samples: Range<Int>
    let file: String
  }

  private var spans: [Span] {
    let fixed = modalities.filter(\.isFixed).map { modality in
      modality.shape.reduce(1, *) * (modality.kind == .pictures ? 1 : 4)
    }
    // Steps of an archive before its padding is left out; text is short.
    var ragged = 0
    for part in listing.splits.joined().first?.parts ?? [] {
      if case .steps(let array, _) = part { ragged = max(ragged, 4 * array.shape[1] * array.shape[2]) }
    }
    let size = max(1, (fixed + [ragged]).max() ?? 1)
    let count = max(1, min(Self.samplesPerShard, Self.shardBytes / size))
    return listing.splits.enumerated().flatMap { split, samples in
      stride(from: 0, to: samples.count, by: count).enumerated().map { number, start in
        let digits = String(number)
        let padded = String(repeating: "0", count: max(0, 5 - digits.count)) + digits
        return Span(
          split: split, samples: start..<min(samples.count, start + count),
          file: "\(PackedManifest.splitNames[split])-\(padded).safetensors")
      }
    }
  }

  /// How the data are made.
  private var recipe: JSONObject { listing.recipeNotes }

  /// What must be the same when a packing is resumed.
  private func plan() throws -> JSONValue {
    var sha = SHA256()
    for (split, samples) in listing.splits.enumerated() {
      for sample in samples {
        var line = "\(split)\t\(sample.label)\t\(sample.id)"
        for url in sample.parts.flatMap(\.files) {
          line += "\t\(url.lastPathComponent)\t\(try FileReader.size(of: url))"
        }
        for case .steps(let array, let row) in sample.parts {
          line += "\t\(array.name)\t\(array.shape)\t\(row)"
        }
        for case .values(let values) in sample.parts {
          var bytes: [UInt8] = []
          for value in values {
            for shift in stride(from: UInt32(0), to: 32, by: 8) {
              bytes.append(UInt8(truncatingIfNeeded: value.bitPattern >> shift))
            }
          }
          sha.update(bytes)
        }
        for case .text(let text) in sample.parts { line += "\t\(text)" }
        sha.update([UInt8]((line + "\n").utf8))
      }
    }
    return [
      "format": .string(PackedManifest.format), "name": .string(name),
      "modalities": .array(modalities.map(\.json)), "recipe": .object(recipe),
      "samples_sha256": .string(sha.hexadecimal()),
    ]
  }

  /// Packs into a folder.
  ///
  /// - Parameters:
  ///   - mode: `fresh` needs a folder that is empty or missing, `resume` goes on, `overwrite` removes a packed data set.
  ///   - progress: Told the samples that are done, those done before included, and of how many.
  /// - Throws: `PackingError`, `FileError`, and what reading media throws.
  public func pack(
    to folder: URL, mode: RunFolder.Mode, threads: Int, progress: (Int, Int) -> Void
  ) throws -> Outcome {
    try FileSystem.createFolder(folder.path)
    let plan = try plan()
    if try begin(folder, mode, plan) { return .complete(try PackedFolder(folder)) }
    let spans = spans
    let total = spans.reduce(0) { $0 + $1.samples.count }
    var done = 0
    var shards: [[PackedManifest.Shard]] = [[], [], []]
    for span in spans {
      let url = folder.appendingPathComponent(span.file)
      if mode != .resume || !isWhole(url, samples: span.samples.count) {
        if Interrupts.isRequested { return .stopped }
        try write(span, to: url, threads: threads)
      }
      shards[span.split].append(
        PackedManifest.Shard(
          file: span.file, samples: span.samples.count, bytes: try FileReader.size(of: url),
          sha256: try SHA256.hexadecimal(ofFile: url)))
      done += span.samples.count
      progress(done, total)
    }
    let splits = PackedManifest.splitNames.enumerated().map { index, name in
      let samples = listing.splits[index]
      return PackedManifest.Split(
        name: name, ids: samples.map(\.id), labels: samples.map(\.label), shards: shards[index])
    }
    let manifest = PackedManifest(
      name: name, classes: listing.classes, modalities: modalities, splits: splits, recipe: recipe)
    try AtomicFile.write(
      manifest.json.text(.indented) + "\n", to: folder.appendingPathComponent(PackedFolder.manifestName))
    try FileSystem.remove(folder.appendingPathComponent(Self.planName).path)
    return .complete(try PackedFolder(folder))
  }

  /// Looks at what the folder holds and writes the plan.
  ///
  /// - Returns: Whether everything was packed before.
  private func begin(_ folder: URL, _ mode: RunFolder.Mode, _ plan: JSONValue) throws -> Bool {
    // What a killed process was writing; its name was never anyone's.
    for name in try FileSystem.names(in: folder.path) where Self.isTemporary(name) {
      try FileSystem.remove(folder.appendingPathComponent(name).path)
    }
    let names = try FileSystem.names(in: folder.path)
    let planURL = folder.appendingPathComponent(Self.planName)
    let (isBegun, isPacked) = (names.contains(Self.planName), names.contains(PackedFolder.manifestName))
    let own = names.filter(Self.isOwn)
    switch mode {
    case .fresh:
      guard names.isEmpty else {
        throw PackingError.occupied(
          path: folder.path,
          what: isPacked ? "a packed data set" : isBegun ? "an unfinished packing" : names[0].inQuotes,
          canResume: isBegun && !isPacked)
      }
    case .resume:
      if isPacked && !isBegun { return true }
      if isBegun {
        let bytes = try FileReader.bytes(of: planURL, limit: 1 << 24)
        guard (try? JSONValue(parsing: bytes)) == plan else { throw PackingError.changed(path: folder.path) }
        return false
      }
      guard names.isEmpty else {
        throw PackingError.occupied(path: folder.path, what: names[0].inQuotes, canResume: false)
      }
    case .overwrite:
      guard own.count == names.count, isBegun || isPacked || names.isEmpty else {
        let other = names.first { !own.contains($0) } ?? names[0]
        throw PackingError.occupied(path: folder.path, what: other.inQuotes, canResume: false)
      }
      // The manifest first: without it nothing takes the folder for whole.
      for name in own.sorted(by: { first, _ in first == PackedFolder.manifestName }) {
        try FileSystem.remove(folder.appendingPathComponent(name).path)
      }
    }
    try AtomicFile.write(plan.text(.indented) + "\n", to: planURL)
    return false
  }

  private static func isTemporary(_ name: String) -> Bool {
    name.hasPrefix(".mmprobe-") && name.hasSuffix(".partial")
  }

  /// Whether a name is one that packing writes.
  private static func isOwn(_ name: String) -> Bool {
    if name == planName || name == PackedFolder.manifestName { return true }
    return name.hasSuffix(".safetensors")
      && PackedManifest.splitNames.contains { split in
        name.hasPrefix(split + "-")
          && name.dropFirst(split.utf8.count + 1).dropLast(12).allSatisfy(\.isNumber)
      }
  }

  /// Whether a shard of an earlier run is there; it is written whole or not at all.
  private func isWhole(_ url: URL, samples: Int) -> Bool {
    guard FileManager.default.fileExists(atPath: url.path), let file = try? SafetensorsFile(path: url.path)
    else { return false }
    return (try? PackedFolder.check(file, samples: samples, modalities)) != nil
  }

  private func write(_ span: Span, to url: URL, threads: Int) throws {
    let samples = Array(listing.splits[span.split][span.samples])
    var parts: [SafetensorsWriter.Part] = []
    for (index, modality) in modalities.enumerated() {
      if modality.isFixed {
        let type: ElementType = modality.kind == .pictures ? .u8 : .f32
        let shape = [samples.count] + modality.shape
        parts.append(
          SafetensorsWriter.Part(name: modality.name, elementType: type, shape: shape) {
            try joined(values(samples, index, threads), modality.name, shape)
          })
      } else {
        let values = try values(samples, index, threads)
        let width = modality.shape.first ?? 1
        var offsets = [0]
        for value in values { offsets.append(offsets[offsets.count - 1] + value.count / width) }
        let shape = [offsets[offsets.count - 1]] + modality.shape
        let stored = try joined(values, modality.name, shape)
        let places = try StoredTensor(
          name: PackedFolder.offsets(modality.name), shape: [offsets.count], integers: offsets)
        let type: ElementType = modality.kind == .text ? .u8 : .f32
        parts.append(
          SafetensorsWriter.Part(name: modality.name, elementType: type, shape: shape) { stored })
        parts.append(
          SafetensorsWriter.Part(name: places.name, elementType: .i64, shape: places.shape) { places.storage }
        )
      }
    }
    try SafetensorsWriter.write(parts, to: url.path)
  }

  private func joined(_ values: [PartReader.Value], _ name: String, _ shape: [Int]) throws -> StoredBytes {
    var (bytes, floats) = ([UInt8](), [Float]())
    let count = values.reduce(0) { $0 + $1.count }
    for value in values {
      switch value {
      case .bytes(let more):
        if bytes.isEmpty { bytes.reserveCapacity(count) }
        bytes += more
      case .floats(let more):
        if floats.isEmpty { floats.reserveCapacity(count) }
        floats += more
      }
    }
    return floats.isEmpty ? .owned(bytes) : try StoredTensor(name: name, shape: shape, floats: floats).storage
  }

  /// One modality of some samples, several samples at a time; of several errors the first sample's is thrown.
  private func values(_ samples: [SourceSample], _ index: Int, _ threads: Int) throws -> [PartReader.Value] {
    let results = Mutex([Int: Result<PartReader.Value, any Error>]())
    let (reader, modality) = (reader, modalities[index])
    let workers = max(1, min(threads, samples.count))
    DispatchQueue.concurrentPerform(iterations: workers) { worker in
      for place in stride(from: worker, to: samples.count, by: workers) {
        let sample = samples[place]
        let result = Result { try reader.value(sample.parts[index], as: modality, of: sample.id) }
        results.withLock { $0[place] = result }
      }
    }
    let all = results.withLock { $0 }
    return try samples.indices.compactMap { try all[$0]?.get() }
  }
}

extension DataListing {
  /// The problems of the listing and, if wanted, of every medium: each is decoded as packing would.
  ///
  /// - Parameter progress: Told the samples that are done, and of how many.
  public func problems(decodes: Bool, progress: (Int, Int) -> Void = { _, _ in }) -> [DataProblem] {
    guard decodes else { return problems }
    var all = problems
    let reader = PartReader(recipe)
    let samples = splits.flatMap { $0 }
    for (index, sample) in samples.enumerated() {
      for (part, modality) in zip(sample.parts, modalities) {
        do { _ = try reader.value(part, as: modality, of: sample.id) } catch {
          let path = part.files.first?.path ?? folder.path
          let kind: DataProblem.Kind = error is PackingError ? .wrongShape : .unreadable
          all.append(DataProblem(kind, path: path, sample: sample.id, error.localizedDescription))
        }
      }
      progress(index + 1, samples.count)
    }
    return all
  }
}
