import Foundation
import RunKit
import TensorCore
import TokenModel

/// `mmprobe convert`: a copy of a model with few bits a number.
struct ConvertCommand: Command {
  /// What the matrices of the decoder become.
  enum Weights: String, CaseIterable {
    case int8, int4
    var bits: QuantisedMatrix.Bits { self == .int8 ? .eight : .four }
  }

  static let name = "convert"
  static let summary = "copy a model with its decoder in 8 or 4 bits a number"
  static let discussion = """
    The matrices of attention and feed-forward become integers with one scale for
    each group of neighbours in a row; everything else stays as it is. The copy is
    for this program alone: its weight files have a name that others do not find.
    Documentation/Quantisation.md has the layout of the file. How far the copy is
    from the model: mmprobe verify COPY --against MODEL.
    """
  static let output = Option<String>.required("output", short: "o", "FOLDER", "folder of the copy")
  static let weights = Option<Weights>.choice("weights", "TYPE", default: .int8, "int8 or int4")
  static let groupSize = Option<Int>.integer(
    "group-size", in: 32...128, default: 64, unit: "columns", "32, 64 or 128 neighbours share a scale")
  static let positionals = [Positional.model]
  static let options = [output.declaration, weights.declaration, groupSize.declaration]
  static let examples = [
    Example(purpose: "Half of the size of bf16", line: "convert model -o model-int8"),
    Example(purpose: "A quarter", line: "convert model -o model-int4 --weights int4 --group-size 32"),
  ]

  private let model: String
  private let output: String
  private let weights: Weights
  private let groupSize: Int

  init(_ arguments: Arguments) throws(UsageError) {
    model = try arguments[Positional.model]
    output = try arguments[Self.output]
    weights = try arguments[Self.weights]
    groupSize = try arguments[Self.groupSize]
    guard QuantisedMatrix.groupSizes.contains(groupSize) else {
      throw .conflict(reason: "--group-size \(groupSize) is not supported", remedy: "take 32, 64 or 128")
    }
  }

  func run(_ session: Session) throws -> ExitStatus {
    let console = session.console
    let checkpoint = try Support.checkpoint(model)
    let conversion = try CheckpointConversion(checkpoint, bits: weights.bits, groupSize: groupSize)
    let target = URL(fileURLWithPath: output, isDirectory: true)
    // The model's own folder is refused with a reason of its own.
    if target.standardizedFileURL.path != checkpoint.folder.standardizedFileURL.path {
      try Support.requireNew(target)
    }
    var progress: ProgressReporter?
    let summary = try conversion.write(to: target) { done, total in
      if progress == nil { progress = console.progress(total: total, alreadyDone: 0, unit: "matrix") }
      progress?.update(done: done, detail: "")
    }
    progress?.finish(done: summary.quantisedCount, detail: "")
    if console.wantsJSON {
      try console.document([
        "weights": .string(weights.rawValue), "group_size": .integer(groupSize),
        "quantised_matrices": .integer(summary.quantisedCount),
        "kept_matrices": .array(summary.keptNames.map(JSONValue.string)),
        "bytes_before": .integer(summary.bytesBefore), "bytes_after": .integer(summary.bytesAfter),
      ])
    } else {
      try console.line(
        "\(Support.grouped(summary.quantisedCount)) matrices in \(weights.rawValue), groups of \(groupSize); "
          + "\(Support.grouped(summary.bytesBefore)) bytes became \(Support.grouped(summary.bytesAfter))")
      if !summary.keptNames.isEmpty {
        console.warn(
          "\(Support.grouped(summary.keptNames.count)) matrices kept as stored, since \(groupSize) does not divide the columns: "
            + summary.keptNames.prefix(3).joined(separator: ", "))
      }
    }
    console.note("how far it is from the model: mmprobe verify \(output) --against \(model)")
    return .success
  }
}
