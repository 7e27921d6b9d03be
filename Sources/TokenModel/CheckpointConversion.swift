public import Foundation
public import RunKit
public import TensorCore

/// Copies a model folder with the matrices of the decoder in few bits a number.
///
/// Queries, keys, values, the output projection and the three matrices of the feed-forward of every layer are quantised
/// (`QuantisedMatrix`); embeddings, the output layer, norms, biases, towers and projectors stay as they are. A matrix whose
/// columns are no multiple of the group size stays as it is too. The files have a name
/// of their own, by which other programs find no weights instead of drawing the missing ones anew; `config.json` gets a
/// `quantization_config` that says what they hold.
public struct CheckpointConversion: Sendable {
  /// What the weights of a copy are called before `.safetensors`, so that programs that do not know the layout find none.
  public static let baseName = "quantised"

  /// Whether a configuration is that of a copy made here.
  static func made(_ configuration: ConfigurationReader) -> Bool {
    configuration.object["quantization_config"]?["quant_method"] == .string(method)
  }

  /// `quant_method` in `config.json`.
  public static let method = "mmprobe"

  /// What a conversion did.
  public struct Summary: Sendable, Equatable {
    /// Matrices that were quantised.
    public var quantisedCount = 0
    /// Matrices of the decoder that stay, since the group size does not divide their columns.
    public var keptNames: [String] = []
    /// Bytes of the weight files before.
    public var bytesBefore = 0
    /// Bytes of the weight files afterwards.
    public var bytesAfter = 0
  }

  private let checkpoint: Checkpoint
  private let bits: QuantisedMatrix.Bits
  private let groupSize: Int

  /// - Parameters:
  ///   - checkpoint: A folder that is not quantised yet.
  ///   - groupSize: One of `QuantisedMatrix.groupSizes`.
  /// - Throws: `ConversionError.alreadyQuantised`.
  public init(_ checkpoint: Checkpoint, bits: QuantisedMatrix.Bits, groupSize: Int) throws(ConversionError) {
    if let name = checkpoint.weights.names.first(where: { name in
      QuantisedMatrix.Bits.allCases.contains { name.hasSuffix($0.suffix) }
    }) {
      throw .alreadyQuantised(path: checkpoint.folder.path, tensor: name)
    }
    (self.checkpoint, self.bits, self.groupSize) = (checkpoint, bits, groupSize)
  }

  /// Writes the copy, one file after another; `config.json` comes last, so that a folder without it is not whole.
  ///
  /// - Parameters:
  ///   - folder: Made if it does not exist; files in it are replaced.
  ///   - progress: Told how many of the matrices are done.
  /// - Throws: `ConversionError.sameFolder`, `FileError`, `StoredTensorError.notQuantisable` with the tensor.
  public func write(to folder: URL, progress: @escaping (_ done: Int, _ total: Int) -> Void = { _, _ in })
    throws
    -> Summary
  {
    guard
      folder.standardizedFileURL.resolvingSymlinksInPath()
        != checkpoint.folder.standardizedFileURL.resolvingSymlinksInPath()
    else { throw ConversionError.sameFolder(path: folder.path) }
    try FileSystem.createFolder(folder.path)
    let decoder = Set(checkpoint.model.decoder.matrices.compactMap { $0.storedTensor?.name })
    let total = checkpoint.weights.tensors.count {
      decoder.contains($0.name) && $0.shape.count == 2 && $0.shape[1] % groupSize == 0 && $0.elementCount > 0
    }
    var summary = Summary()
    var index = JSONObject()
    for file in checkpoint.weights.files {
      var parts: [SafetensorsWriter.Part] = []
      for tensor in file.tensors {
        summary.bytesBefore += tensor.storage.count
        guard decoder.contains(tensor.name), tensor.shape.count == 2 else {
          parts.append(part(tensor))
          continue
        }
        guard tensor.shape[1] % groupSize == 0, tensor.elementCount > 0 else {
          summary.keptNames.append(tensor.name)
          parts.append(part(tensor))
          continue
        }
        parts += quantised(tensor)
      }
      let isOnly = checkpoint.weights.files.count == 1
      let name = isOnly ? Self.baseName + ".safetensors" : URL(fileURLWithPath: file.path).lastPathComponent
      for part in parts {
        index[part.name] = .string(name)
        summary.bytesAfter += part.elementType.byteCount(shape: part.shape) ?? 0
      }
      let before = summary.quantisedCount
      var done = 0
      try SafetensorsWriter.write(
        parts.map { part in
          SafetensorsWriter.Part(name: part.name, elementType: part.elementType, shape: part.shape) {
            if part.name.hasSuffix(bits.suffix) {
              done += 1
              progress(before + done, total)
            }
            return try part.bytes()
          }
        }, metadata: ["format": "pt"], to: folder.appendingPathComponent(name).path)
      summary.quantisedCount += done
    }
    if checkpoint.weights.files.count > 1 {
      try AtomicFile.write(
        JSONValue.object(
          JSONObject([
            ("metadata", .object(JSONObject([("total_size", .integer(summary.bytesAfter))]))),
            ("weight_map", .object(index)),
          ])
        ).text(.indented) + "\n", to: folder.appendingPathComponent(Self.baseName + ".safetensors.index.json")
      )
    }
    try copyOthers(to: folder)
    return summary
  }

  private func part(_ tensor: StoredTensor) -> SafetensorsWriter.Part {
    SafetensorsWriter.Part(name: tensor.name, elementType: tensor.elementType, shape: tensor.shape) {
      tensor.storage
    }
  }

  /// Codes and scales. Each is made when it is written, which quantises twice and keeps memory at one matrix.
  private func quantised(_ tensor: StoredTensor) -> [SafetensorsWriter.Part] {
    let (rows, columns) = (tensor.shape[0], tensor.shape[1])
    func matrix() throws -> QuantisedMatrix {
      let values = try tensor.floats()
      tensor.storage.releasePages()
      return try QuantisedMatrix(
        name: tensor.name, bits: bits, rows: rows, columns: columns, groupSize: groupSize, values: values)
    }
    return [
      SafetensorsWriter.Part(
        name: tensor.name + bits.suffix, elementType: bits == .four ? .u8 : .i8,
        shape: [rows, columns * bits.rawValue / 8]
      ) { try matrix().codes.storage },
      SafetensorsWriter.Part(
        name: tensor.name + QuantisedMatrix.scaleSuffix, elementType: .f16,
        shape: [rows, columns / groupSize]
      ) { try matrix().scales.storage },
    ]
  }

  /// Tokenizer, templates and settings as they are; then `config.json` with its note.
  private func copyOthers(to folder: URL) throws {
    let names = try FileManager.default.contentsOfDirectory(atPath: checkpoint.folder.path).sorted()
    for name in names
    where name != "config.json" && !name.hasSuffix(".safetensors.index.json")
      && [".json", ".model", ".jinja", ".txt", StoredRotations.name].contains(where: name.hasSuffix)
    {
      let source = checkpoint.folder.appendingPathComponent(name)
      try AtomicFile.write(
        FileReader.bytes(of: source, limit: 1 << 28), to: folder.appendingPathComponent(name))
    }
    var configuration = checkpoint.configuration.object
    configuration["quantization_config"] = .object(
      JSONObject([
        ("quant_method", .string(Self.method)), ("bits", .integer(bits.rawValue)),
        ("group_size", .integer(groupSize)),
      ]))
    try AtomicFile.write(
      JSONValue.object(configuration).text(.indented) + "\n", to: folder.appendingPathComponent("config.json")
    )
  }
}

/// Why a model folder could not be converted.
public enum ConversionError: DescribedError {
  case alreadyQuantised(path: String, tensor: String)
  case sameFolder(path: String)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case alreadyQuantised = "conversion_already_quantised"
    case sameFolder = "conversion_same_folder"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .alreadyQuantised: .alreadyQuantised
    case .sameFolder: .sameFolder
    }
  }

  /// The exit status a command ends with.
  public var exitStatus: ExitStatus { code == .sameFolder ? .usage : .data }

  /// The file concerned, if there is one.
  public var path: String? {
    switch self {
    case .alreadyQuantised(let path, _), .sameFolder(let path): path
    }
  }

  /// What was wrong, where, and what was expected.
  public var errorDescription: String? {
    switch self {
    case .alreadyQuantised(let path, let tensor):
      "\(path): the tensor \(tensor.inQuotes) is quantised already"
    case .sameFolder(let path): "\(path): a model cannot be converted into its own folder"
    }
  }

  /// What to do about it.
  public var recoverySuggestion: String? {
    switch self {
    case .alreadyQuantised: "convert the folder it was made from"
    case .sameFolder: "give another folder with -o"
    }
  }
}
