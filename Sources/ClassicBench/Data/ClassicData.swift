import Foundation
import RunKit
import TensorCore
import TokenModel

/// Samples of several modalities with labels; inputs become numbers a batch at a time.
struct ClassicSplit: Sendable {
  /// For each modality the inputs of all samples.
  let rows: [any SampleRows]
  let labels: [Int]

  init(rows: [any SampleRows], labels: [Int]) {
    require(
      rows.allSatisfy { $0.count == labels.count }, "\(rows.map(\.count)) rows of \(labels.count) labels")
    (self.rows, self.labels) = (rows, labels)
  }

  /// Inputs that are in memory, for each modality `[samples] + shape`.
  init(inputs: [Tensor], labels: [Int]) {
    self.init(rows: inputs.map { HeldRows($0) }, labels: labels)
  }

  /// The inputs of all samples, for each modality `[samples] + shape`; for small data sets only.
  var inputs: [Tensor] { rows.map { $0.tensor(Array(labels.indices), nil) } }

  /// Some of the samples.
  ///
  /// - Parameter draw: How inputs are changed at random for training; nil for none.
  func batch(_ indices: [Int], _ draw: AugmentationDraw? = nil) -> ClassicBatch {
    ClassicBatch(
      inputs: rows.map { $0.tensor(indices, draw) }, labels: indices.map { labels[$0] }, indices: indices)
  }

  /// How many samples are converted at a time where all are wanted: 256, fewer if they are large.
  var panelSize: Int {
    let largest = rows.map { $0.shape.reduce(1, *) }.max() ?? 1
    return max(1, min(256, (1 << 24) / max(1, largest)))
  }
}

/// A data set with its three parts; only the evaluation after training takes the test part.
struct ClassicData {
  let name: String
  let modalities: [Modality]
  let encoders: [any Encoder]
  let classes: [String]
  let training: ClassicSplit
  let validation: ClassicSplit
  let test: ClassicSplit
  /// SHA-256 of every file that was read, those of encoders too, for the record of a run.
  let hashes: JSONObject

  /// Reads a packed folder, or that of AVDigits.
  ///
  /// - Throws: `PackedDataError`, `ClassicDataError`, `SafetensorsError`, `FileError`, and as
  ///   `EncoderChoice.prepared(for:)`.
  static func read(
    _ folder: URL, modalities: [Modality], encoders: EncoderChoices = .standard
  ) throws -> ClassicData {
    PackedFolder.isPacked(folder)
      ? try PackedFolder(folder).data(modalities, encoders)
      : try AVDigitsData.read(folder, modalities: modalities, encoders: encoders)
  }
}

/// Why AVDigits cannot be read.
enum ClassicDataError: DescribedError {
  case missingFile(path: String)
  case unknownModality(path: String, name: String)
  case wrongTensor(path: String, tensor: String, found: String, expected: String)
  case wrongDocument(path: String, key: String, expected: String)
  case wrongRows(path: String, found: Int, expected: Int)
  case labelOutOfRange(path: String, row: Int, found: Int, classes: Int)

  enum Code: String, CaseIterable, Sendable {
    case missingFile = "classic_missing_file"
    case unknownModality = "classic_unknown_modality"
    case wrongTensor = "classic_wrong_tensor"
    case wrongDocument = "classic_wrong_document"
    case wrongRows = "classic_wrong_rows"
    case labelOutOfRange = "classic_label_out_of_range"
  }

  var code: Code {
    switch self {
    case .missingFile: .missingFile
    case .unknownModality: .unknownModality
    case .wrongTensor: .wrongTensor
    case .wrongDocument: .wrongDocument
    case .wrongRows: .wrongRows
    case .labelOutOfRange: .labelOutOfRange
    }
  }

  var exitStatus: ExitStatus {
    switch self {
    case .missingFile: .missingInput
    case .unknownModality: .usage
    default: .data
    }
  }

  var path: String? {
    switch self {
    case .missingFile(let path), .unknownModality(let path, _), .wrongTensor(let path, _, _, _),
      .wrongDocument(let path, _, _), .wrongRows(let path, _, _), .labelOutOfRange(let path, _, _, _):
      path
    }
  }

  var errorDescription: String? {
    switch self {
    case .missingFile(let path): "\(path): the file is missing"
    case .unknownModality(let path, let name):
      "\(path): the data set has no modality \(name.inQuotes), expected image, audio or text"
    case .wrongTensor(let path, let tensor, let found, let expected):
      "\(path): tensor \(tensor.inQuotes) is \(found), expected \(expected)"
    case .wrongDocument(let path, let key, let expected): "\(path): \(key.inQuotes) is not \(expected)"
    case .wrongRows(let path, let found, let expected): "\(path): \(found) rows, expected \(expected)"
    case .labelOutOfRange(let path, let row, let found, let classes):
      "\(path): the label of row \(row) is \(found), expected 0 to \(classes - 1)"
    }
  }

  var recoverySuggestion: String? {
    switch self {
    case .missingFile:
      "name a folder that 'mmprobe data pack' made, or that of AVDigits, which holds dataset.json"
    case .unknownModality: "change the modalities of the experiment"
    default: "get the data set again"
    }
  }
}
