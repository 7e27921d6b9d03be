import Analysis
import Foundation
import RunKit
import TensorCore
import TokenModel

/// Small things that several commands share.
enum Support {
  /// Opens the model folder of a command.
  static func checkpoint(_ path: String) throws -> Checkpoint {
    try Checkpoint(folder: URL(fileURLWithPath: path, isDirectory: true))
  }

  /// The error to show: numbers that are not finite are mostly a fault of a file of weights, which is then named.
  static func naming(_ error: any Error, model path: String?) -> any Error {
    var isOfNumbers = false
    switch error {
    case ModelError.notFinite, ProbeError.notFinite, TrainingStateError.notFinite: isOfNumbers = true
    case MeasurementError.nothingMeasured(_, let first): isOfNumbers = first.contains("not finite")
    default: break
    }
    guard isOfNumbers, let path, let checkpoint = try? checkpoint(path),
      let tensor = try? checkpoint.weights.firstNotFinite()
    else { return error }
    return CheckpointError.notFinite(path: path, tensor: tensor.name)
  }

  /// The last part of a path, for headings.
  static func name(_ path: String) -> String {
    URL(fileURLWithPath: path).standardizedFileURL.lastPathComponent
  }

  /// Says that large files are read for their hashes, which takes a while the first time.
  static func noteOfHashing(_ console: Console) -> (Int) -> Void {
    { console.note("hashing \(ByteCount.text($0)) of weights; remembered for the next time") }
  }

  /// A count with commas between thousands.
  static func grouped(_ count: Int) -> String {
    let digits = String(abs(count))
    var text = ""
    for (index, digit) in digits.enumerated() {
      if index > 0 && (digits.count - index) % 3 == 0 { text += "," }
      text.append(digit)
    }
    return (count < 0 ? "-" : "") + text
  }

  /// A count with its noun, such as `1 file` and `2,000 files`.
  static func counted(_ count: Int, _ noun: String) -> String {
    "\(grouped(count)) \(noun)" + (count == 1 ? "" : "s")
  }

  /// Sizes of axes, such as `1 x 8 x 8`.
  static func shape(_ sizes: [Int]) -> String { sizes.map(String.init).joined(separator: " x ") }

  /// A small number with two significant digits, such as `2.4e-05`.
  static func scientific(_ value: Double) -> String {
    if value.isNaN { return "nan" }
    if value.isInfinite { return "inf" }
    if value == 0 { return "0" }
    var (mantissa, exponent) = (abs(value), 0)
    while mantissa >= 9.95 { (mantissa, exponent) = (mantissa / 10, exponent + 1) }
    while mantissa < 0.995 { (mantissa, exponent) = (mantissa * 10, exponent - 1) }
    let digits = abs(exponent) < 10 ? "0\(abs(exponent))" : "\(abs(exponent))"
    return (value < 0 ? "-" : "") + Decimals.text(mantissa, places: 1) + "e" + (exponent < 0 ? "-" : "+")
      + digits
  }

  /// Warns of a sequence that is longer than the model was made for: it can be computed, but means little.
  static func warnOfLength(_ count: Int, _ checkpoint: Checkpoint, _ console: Console) {
    let limit = checkpoint.model.decoder.configuration.contextLength
    guard count > limit else { return }
    console.warn(
      "a sequence has \(grouped(count)) tokens, the model was made for \(grouped(limit)) (max_position_embeddings)"
    )
  }

  /// Refuses a folder for new files that has some already, so that none is replaced and nothing old stays among them.
  ///
  /// - Throws: `RunFolderError.notEmpty`, `.notAFolder`.
  static func requireNew(_ folder: URL) throws(RunFolderError) {
    guard FileManager.default.fileExists(atPath: folder.path) else { return }
    guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder.path) else {
      throw .notAFolder(path: folder.path)
    }
    guard names.isEmpty else { throw .notEmpty(path: folder.path, isRun: false) }
  }

  /// Writes the curves of a training run into its folder.
  static func writeTrainingReport(_ folder: RunFolder) throws {
    let html = TrainingReport(try TrainingLog(folder.url)).html
    try folder.write(to: TrainingLog.reportName) { try AtomicFile.write(html, to: $0) }
  }

  /// The same command line with `--resume`, for a shell.
  static func resumeLine(_ words: [String]) -> String {
    let kept = words.filter { $0 != "--overwrite" && $0 != "--resume" } + ["--resume"]
    let plain = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=,+:@%".unicodeScalars)
    return (["mmprobe"] + kept).map { word in
      if !word.isEmpty && word.unicodeScalars.allSatisfy(plain.contains) { return word }
      return "'" + word.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''")
        + "'"
    }.joined(separator: " ")
  }
}
