import Foundation
import RunKit
import XCTest

/// Tables as they are printed, of results that were thought up.
final class BenchTableCommandTests: XCTestCase {
  /// A folder as a sweep leaves it: two seeds of three methods on ten samples, one run of which failed.
  private func sweep(_ folder: TemporaryFolder, _ name: String, hash: String) throws -> String {
    let rows: [(label: String, settings: JSONValue, right: [String], validation: Double)] = [
      ("joint", [:], ["1111000000", "1110000000"], 0.5),
      ("ogm", ["alpha": 0.1], ["1111111100", "1111111000"], 0.6),
      ("ogm", ["alpha": 0.5], ["1111111111", "1111111111"], 0.4),
      ("mla", [:], ["1111100000"], 0.5),
    ]
    var entries: [JSONValue] = []
    for row in rows {
      for seed in 0..<2 {
        let settings = (row.settings.objectValue?.members ?? []).map { ".\($0.key)=\($0.value.text())" }
        let run = "\(row.label)\(settings.joined())-seed\(seed)"
        let isThere = seed < row.right.count
        entries.append([
          "name": .string(run), "label": .string(row.label), "method": .string(row.label),
          "settings": row.settings, "seed": .integer(seed), "is_teacher": false, "teacher": .null,
          "status": isThere ? "complete" : "failed", "exit_code": isThere ? .null : 65,
          "message": isThere ? .null : "the loss is nan",
        ])
        guard isThere else { continue }
        let place = folder.url("\(name)/runs/\(run)")
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        let result = Self.result(row.label, seed, row.right[seed], row.validation)
        try Data(result.text().utf8).write(to: place.appendingPathComponent("result.json"))
        try Data("{\"sha256\": {\"test\": \"\(hash)\"}}".utf8).write(
          to: place.appendingPathComponent("config.json"))
      }
    }
    let index: JSONValue = [
      "schema": "mmprobe.sweep/v1", "experiment": [:], "reference": "joint", "runs": .array(entries),
    ]
    try Data(index.text(.indented).utf8).write(to: folder.url("\(name)/index.json"))
    return folder.path(name)
  }

  private static func result(_ label: String, _ seed: Int, _ right: String, _ validation: Double) -> JSONValue
  {
    let none = String(repeating: "0", count: right.count)
    let share = Double(right.count { $0 == "1" }) / Double(right.count)
    return [
      "label": .string(label), "method": .string(label), "seed": .integer(seed),
      "modalities": ["image", "audio"], "steps": 10, "best_step": 5,
      "validation_accuracy": .number(validation),
      "accuracy": .number(share), "macro_f1": .number(share), "unimodal_accuracy": [0, 0],
      "shapley": [0, .number(share)], "imbalance": .number(share),
      "subset_accuracy": [0, 0, .number(share), .number(share)],
      "confusion": [[1, 0], [0, 1]],
      "subset_correct": [.string(none), .string(none), .string(right), .string(right)],
    ]
  }

  private func table(_ folders: [String], _ format: String) throws -> String {
    try Program.succeed(["bench", "table"] + folders + ["--replicates", "200", "--format", format]).output
  }

  func testTheTableOfASweep() throws {
    let folder = try TemporaryFolder()
    let sweep = try sweep(folder, "digits", hash: "a")
    XCTAssertEqual(try table([sweep], "text"), Self.text)
    let markdown = try table([sweep], "markdown")
    XCTAssertTrue(markdown.hasPrefix("| method | seeds | accuracy |"), markdown)
    XCTAssertTrue(markdown.contains("\n| --- | ---: |"), markdown)
    XCTAssertTrue(markdown.contains("\n- missing: mla, seed 1"), markdown)
    XCTAssertTrue(try table([sweep], "latex").hasPrefix(Self.latex))
    let csv = try table([sweep], "csv").split(separator: "\r\n").map(String.init)
    XCTAssertEqual(csv.count, 4)
    // A line for each method below that of the names.
    XCTAssertTrue(csv[1].hasPrefix("digits,joint,joint,,false,2,0,accuracy,0.35,"), csv[1])
    XCTAssertTrue(csv[2].hasPrefix("digits,ogm,ogm,alpha=0.1,false,2,0,accuracy,0.75,"), csv[2])
    // One seed has no deviation.
    XCTAssertTrue(csv[3].hasPrefix("digits,mla,mla,,false,1,1,accuracy,0.5,"), csv[3])
    let json = try JSONValue(parsing: [UInt8](table([sweep], "json").utf8))
    XCTAssertEqual(json["rows"]?.arrayValue?[2]["values"]?.arrayValue, [.number(0.5), .null])
    XCTAssertEqual(json["rows"]?.arrayValue?[2]["sd"], .null)
  }

  func testTheTableOverDataSets() throws {
    let folder = try TemporaryFolder()
    let sweeps = [try sweep(folder, "digits", hash: "a"), try sweep(folder, "faces", hash: "b")]
    let text = try table(sweeps, "text")
    XCTAssertTrue(text.hasSuffix(Self.overData), text)
    let same = try Program.run(["bench", "table", sweeps[0], sweeps[0]])
    XCTAssertEqual(same.status, ExitStatus.data.rawValue)
    XCTAssertTrue(same.errors.contains("the same data"), same.errors)
    XCTAssertEqual(
      try Program.run(["bench", "table"] + sweeps + ["--all"]).status, ExitStatus.usage.rawValue)
    let unknown = try Program.run(["bench", "table", sweeps[0], "--against", "jiont"])
    XCTAssertEqual(unknown.status, ExitStatus.usage.rawValue)
    XCTAssertTrue(unknown.errors.contains("Did you mean \"joint\"?"), unknown.errors)
  }

  private static let text = """
    method         seeds  accuracy           95 %     I  rank  vs joint          95 %      p  p Holm  better/worse  detectable
    joint              2      35.0    0.0 to 80.0  35.0   3.0         –             –      –       –             –           –
    ogm alpha=0.1      2      75.0  30.0 to 100.0  75.0   1.0     +40.0  10.0 to 80.0  0.222   0.444           0/0       204.6
    mla                1      50.0   17.0 to 83.0  50.0   2.0     +10.0   0.0 to 30.0  1.000   1.000           0/0        31.5
    accuracy on 10 test samples of digits, mean over seeds, in percent; rank 1 is the best of a seed
    intervals: paired bootstrap over 2 seeds and 10 samples (200 draws, seed 0); p: t with the standard error over seeds and samples
    p Holm: corrected for 2 methods against joint; detectable: the smallest true difference that one test would find with a chance of 80 %
    better/worse: seeds in which McNemar's exact test finds the method better or worse than joint at 0.05, corrected by Holm over methods
    settings chosen by mean accuracy on validation samples: ogm of 2
    missing: mla, seed 1: failed with status 65: the loss is nan

    method         macro F1  alone image  alone audio  φ image  φ audio     I
    joint              35.0          0.0          0.0      0.0     35.0  35.0
    ogm alpha=0.1      75.0          0.0          0.0      0.0     75.0  75.0
    mla                50.0          0.0          0.0      0.0     50.0  50.0
    mean over seeds in percent; alone: accuracy of a modality's own logits; φ: Shapley value of the accuracy, absent features set to 0; I: mean difference of φ over pairs of modalities

    """
  private static let latex = """
    \\begin{tabular}{lrrrrrrrrrrr}
    \\toprule
    method & seeds & accuracy & 95 \\% & I & rank & vs joint & 95 \\% & p & p Holm & better/worse & detectable \\\\
    \\midrule
    joint & 2 & 35.0 & 0.0 to 80.0 & 35.0 & 3.0 & -- & -- & -- & -- & -- & -- \\\\
    ogm alpha=0.1 & 2 & 75.0 & 30.0 to 100.0 & 75.0 & 1.0 & +40.0 & 10.0 to 80.0 & 0.222 & 0.444 & 0/0 & 204.6 \\\\
    mla & 1 & 50.0 & 17.0 to 83.0 & 50.0 & 2.0 & +10.0 & 0.0 to 30.0 & 1.000 & 1.000 & 0/0 & 31.5 \\\\
    \\bottomrule
    \\end{tabular}

    """
  private static let overData = """
    method  digits  faces  rank  vs joint      p  p Holm
    joint     35.0   35.0   3.0         –      –       –
    ogm       75.0   75.0   1.0      40.0  0.500   1.000
    mla       50.0   50.0   2.0      10.0  0.500   1.000
    mean accuracy over seeds in percent; rank: mean over data sets that have every method
    p: exact signed-rank test of Wilcoxon over 2 data sets, at least 0.5000 with so many; p Holm: corrected over methods

    """
}
