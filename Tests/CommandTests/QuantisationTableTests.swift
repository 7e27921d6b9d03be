import Foundation
import RunKit
import TestSupport
import XCTest

@testable import TokenModel

/// What int8 and int4 cost in each family: divergence of the next token and drift of attention shares.
///
/// Documentation/Quantisation.md shows the table; `MMPROBE_UPDATE_HELP=1` writes it anew.
final class QuantisationTableTests: XCTestCase {
  private static let page = Fixtures.url("../../Documentation/Quantisation.md").standardizedFileURL
  /// Families of which the tiny model is wide enough, and those that are widened.
  private static let asTheyAre = ["llama", "llava_next", "qwen2_vl", "qwen2_5_vl"]
  private static let widened: [(family: String, keys: KeyLayout)] = [
    ("chameleon", .identity), ("idefics3", Idefics3Model.keys), ("llava", LLaVAModel.keys),
    ("qwen2_audio", Qwen2AudioModel.keys), ("qwen2_text", .identity), ("smolvlm", Idefics3Model.keys),
  ]

  private func json(_ arguments: [String]) throws -> JSONValue {
    try JSONValue(parsing: Program.succeed(arguments + ["--json", "-q"]).output)
  }

  /// One row: the figures as they are printed.
  private func row(
    _ name: String, _ model: String, _ weights: String, _ more: [String], _ folder: TemporaryFolder
  )
    throws -> (cells: [String], divergence: Double)
  {
    let copy = folder.path("\(name)-\(weights)")
    let summary = try json(["convert", model, "-o", copy, "--weights", weights, "--group-size", "32"])
    let matrices = try XCTUnwrap(summary["quantised_matrices"]?.intValue)
    let kept = summary["kept_matrices"]?.arrayValue?.count ?? 0
    XCTAssertGreaterThan(matrices, 0, name)
    let drift = try json(["verify", copy, "--against", model] + more)
    let mean = try XCTUnwrap(drift["mean_divergence_nats"]?.doubleValue, name)
    let largest = try XCTUnwrap(drift["max_divergence_nats"]?.doubleValue, name)
    let agreement = try XCTUnwrap(drift["agreement"]?.doubleValue, name)
    let share = (drift["shares"]?.arrayValue ?? []).map { share in
      abs((share["copy"]?.doubleValue ?? .nan) - (share["original"]?.doubleValue ?? .nan))
    }.max()
    XCTAssertGreaterThan(mean, 0, name)
    let cells = [
      name, weights, "\(matrices) of \(matrices + kept)", number(mean), number(largest),
      "\(Decimals.text(100 * agreement, places: 1)) %", number(try XCTUnwrap(share, name)),
    ]
    return (cells, mean)
  }

  private func number(_ value: Double) -> String {
    let exponent = Int(log10(value).rounded(.down))
    return "\(Decimals.text(value / pow(10, Double(exponent)), places: 1))e\(exponent)"
  }

  func testEveryFamilyStaysNear() throws {
    let folder = try TemporaryFolder()
    var models = [("avt_llama (trained)", Embedded.model, ["--data", Embedded.data, "-n", "20"])]
    for family in Self.asTheyAre { models.append((family, Fixtures.url(family).path, [])) }
    for (family, keys) in Self.widened {
      models.append((family + " (widened)", try WidenedModel(family, keys: keys, in: folder).path, []))
    }
    var rows: [[String]] = []
    for (name, model, more) in models {
      let (eight, four) = (
        try row(name, model, "int8", more, folder), try row(name, model, "int4", more, folder)
      )
      // 4 bits have steps 18 times as wide, and divergence goes with the square.
      XCTAssertLessThan(eight.divergence, four.divergence / 20, name)
      XCTAssertLessThan(eight.divergence, 0.01, name)
      rows += [eight.cells, four.cells]
    }
    try check(rows)
  }

  /// The table stands at the end of its section; figures may differ a little between machines.
  private func check(_ rows: [[String]]) throws {
    let heading = "## Figures\n"
    let text = String(decoding: try Data(contentsOf: Self.page), as: UTF8.self)
    let parts = text.components(separatedBy: heading)
    XCTAssertEqual(parts.count, 2)
    let titles = [
      "family", "weights", "matrices", "mean divergence, nats", "largest", "same most likely token",
      "largest drift of a share",
    ]
    let lines = [titles, Array(repeating: "---", count: titles.count)] + rows
    let table = lines.map { "| " + $0.joined(separator: " | ") + " |\n" }.joined()
    if ProcessInfo.processInfo.environment["MMPROBE_UPDATE_HELP"] == "1" {
      let intro = parts[1].components(separatedBy: "| family")[0]
      try Data((parts[0] + heading + intro + table).utf8).write(to: Self.page)
      return
    }
    let shown = parts[1].split(separator: "\n").filter { $0.hasPrefix("|") }.dropFirst(2).map { line in
      line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
    }
    XCTAssertEqual(shown.map { Array($0.prefix(3)) }, rows.map { Array($0.prefix(3)) })
    for (shown, found) in zip(shown, rows) {
      let (old, new) = (Double(shown[3]) ?? .nan, Double(found[3]) ?? .nan)
      XCTAssertEqual(new / old, 1, accuracy: 0.2, "\(shown)")
    }
  }
}
