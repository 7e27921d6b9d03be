import Foundation
import RunKit
import TestSupport
import XCTest

/// The sessions on the pages of the families: what the program prints for the folders of the tests.
///
/// `MMPROBE_UPDATE_HELP=1` writes them anew.
final class FamilyPageTests: XCTestCase {
  private static let families = [
    "idefics3", "llava", "llava_next", "qwen2_5_vl", "qwen2_audio", "qwen2_vl", "smolvlm",
  ]

  private func page(_ family: String) -> URL {
    Fixtures.url("../../Documentation/Families/\(family).md").standardizedFileURL
  }

  /// A command line as it is shown, and what it prints, without the folder of this run.
  private func shown(_ folder: WholeFolder, _ arguments: [String], _ line: String) throws -> [String] {
    let outcome = try Program.succeed(arguments)
    let output = outcome.output.replacingOccurrences(of: folder.path + "/", with: "")
      .replacingOccurrences(of: URL(fileURLWithPath: folder.path).lastPathComponent, with: "MODEL")
    return ["$ mmprobe " + line]
      + output.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  private func session(_ family: String) throws -> (tokens: String, text: String) {
    let folder = try WholeFolder(family)
    let name = URL(fileURLWithPath: folder.medium.path).lastPathComponent
    let options = "\(folder.medium.option) \(name) --text \"\(folder.question)\""
    let tokens = try shown(
      folder, ["tokens", folder.path] + folder.prompt, "tokens MODEL \(options) | tail -1")
    let sum = try XCTUnwrap(tokens.last { $0.hasPrefix("prompt ") })
    let attention = try shown(
      folder, ["attention", folder.path, "--queries", "last", "-q"] + folder.prompt,
      "attention MODEL \(options) --queries last")
    // The table; the definitions below it stand on the page of the probe.
    let end = attention.firstIndex { $0.hasPrefix("share: ") } ?? attention.count
    let lines = [tokens[0], sum] + attention[..<end]
    return (sum, "```\n" + lines.joined(separator: "\n") + "\n```\n")
  }

  /// Writes a session anew, or the text that the page has now.
  private func page(of family: String, session: String, note: String) throws -> String {
    let heading = "\n## A session\n\n"
    let text = String(decoding: try Data(contentsOf: page(family)), as: UTF8.self)
    if ProcessInfo.processInfo.environment["MMPROBE_UPDATE_HELP"] == "1" {
      let before = text.components(separatedBy: heading)[0]
      let new = before + heading + note + "\n\n" + session
      try Data(new.utf8).write(to: page(family))
      return new
    }
    XCTAssertTrue(text.contains(heading), family)
    return text
  }

  func testPagesShowSessions() throws {
    for family in Self.families {
      let (tokens, session) = try session(family)
      let text = try page(
        of: family, session: session,
        note:
          "The tiny random model of the tests with the files of a whole folder; a trained one prints other shares."
      )
      // Shares may differ in their last digit on another processor, the rows of a prompt not.
      XCTAssertTrue(text.contains(tokens), "\(family): \(tokens)")
    }
  }

  func testPagesShowWhatIsInAFolder() throws {
    let folders = [
      "avt_llama": Embedded.model, "chameleon": Fixtures.url("chameleon").path,
      "llama": Fixtures.url("llama").path, "qwen2": Fixtures.url("qwen2_text").path,
    ]
    for (family, folder) in folders {
      let output = try Program.succeed(["inspect", folder]).output
      let name = URL(fileURLWithPath: folder).lastPathComponent
      let session = "```\n$ mmprobe inspect \(name)\n\(output)```\n"
      let whose =
        family == "avt_llama" ? "The model that comes with mmprobe." : "The tiny random model of the tests."
      XCTAssertTrue(try page(of: family, session: session, note: whose).contains(session), family)
    }
  }
}
