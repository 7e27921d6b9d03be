import Foundation
import RunKit

/// The log of a run as comma-separated values, a line for each epoch: what its last step and its evaluation told.
enum EpochTable {
  static let fileName = "epochs.csv"

  /// Reads `log.jsonl`; columns in the order in which they first come, those of the evaluation behind `validation.`.
  ///
  /// - Throws: Errors of files and lines.
  static func csv(of folder: RunFolder) throws -> String {
    var columns: [String] = []
    var rows: [(epoch: Int, cells: [String: JSONValue])] = []
    for line in try JSONLinesReader(folder.url(of: "log.jsonl")).remainingLines() {
      guard let members = line.value.objectValue?.members, let epoch = line.value["epoch"]?.intValue else {
        continue
      }
      if rows.last?.epoch != epoch { rows.append((epoch, [:])) }
      for (key, value) in members where key != "epoch" {
        let parts =
          key == "validation"
          ? (value.objectValue?.members ?? []).map { ("validation." + $0.key, $0.value) } : [(key, value)]
        for (name, number) in parts {
          if !columns.contains(name) { columns.append(name) }
          rows[rows.count - 1].cells[name] = number
        }
      }
    }
    var writer = CSVWriter(columns: ["epoch"] + columns)
    for row in rows {
      writer.append(
        [.integer(row.epoch)]
          + columns.map { name -> CSVWriter.Field in
            guard let value = row.cells[name], !value.isNull else { return .empty }
            if let whole = value.intValue, name == "step" { return .integer(whole) }
            return value.doubleValue.map { .number($0) } ?? .text(value.text())
          })
    }
    return writer.text
  }
}
