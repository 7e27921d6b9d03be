import Foundation
import TestSupport
import XCTest

@testable import mmprobe

/// Help is part of the interface: its texts stand in Documentation/Commands, and `MMPROBE_UPDATE_HELP=1` writes them
/// anew.
final class HelpTests: XCTestCase {
  private static let pages = Fixtures.url("../../Documentation/Commands").standardizedFileURL

  private func check(_ arguments: [String], _ name: String) throws {
    let outcome = try Program.succeed(arguments)
    XCTAssertEqual(outcome.errors, "")
    let fixture = Self.pages.appendingPathComponent("\(name).txt")
    if ProcessInfo.processInfo.environment["MMPROBE_UPDATE_HELP"] == "1" {
      try outcome.output.write(to: fixture, atomically: true, encoding: .utf8)
    }
    XCTAssertEqual(outcome.output, String(decoding: try Data(contentsOf: fixture), as: UTF8.self))
    for line in outcome.output.split(separator: "\n") {
      XCTAssertLessThanOrEqual(line.count, 80, "\(name): \(line)")
    }
  }

  func testHelpOfTheProgram() throws {
    try check(["--help"], "mmprobe")
    XCTAssertEqual(try Program.succeed(["-h"]).output, try Program.succeed(["help"]).output)
  }

  func testHelpOfEveryCommandHasAnExample() throws {
    for command in AllCommands.list {
      let words = command.name.split(separator: " ").map(String.init)
      try check(words + ["--help"], words.joined(separator: "-"))
      XCTAssertFalse(command.examples.isEmpty, command.name)
      XCTAssertTrue(HelpText.command(command).contains("\n  mmprobe \(command.name)"), command.name)
    }
  }

  func testEveryPageBelongsToACommand() throws {
    let names = try FileManager.default.contentsOfDirectory(atPath: Self.pages.path)
    XCTAssertEqual(
      Set(names), Set(AllCommands.list.map { $0.name.replacing(" ", with: "-") + ".txt" } + ["mmprobe.txt"]))
  }

  func testEveryDeclaredOptionIsRead() throws {
    for command in AllCommands.list {
      let required = Dictionary(
        uniqueKeysWithValues: command.options.filter(\.isRequired).map { ($0.name, ["value"]) })
      let words = Dictionary(uniqueKeysWithValues: command.positionals.map { ($0.name, ["value"]) })
      let arguments = Arguments(command: command.name, texts: required, positionals: words)
      _ = try command.init(arguments)
      XCTAssertEqual(arguments.namesRead, Set(command.options.map(\.name)), command.name)
    }
  }

  func testNamesOfOptionsAreUniqueInEachCommand() {
    for command in AllCommands.list {
      let all = command.options + GlobalOptions.declarations
      XCTAssertEqual(Set(all.map(\.name)).count, all.count, command.name)
      let short = all.compactMap(\.short)
      XCTAssertEqual(Set(short).count, short.count, command.name)
    }
  }

  func testVersionNamesTheLibraries() throws {
    let text = try Program.succeed(["--version"]).output
    for word in ["mmprobe \(Version.number)", "commit ", "Swift 6", "OpenBLAS"] {
      XCTAssertTrue(text.contains(word), text)
    }
  }
}
