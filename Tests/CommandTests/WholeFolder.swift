import Foundation
import RunKit
import TestSupport
import XCTest

/// A tiny model of a family in a folder as the Hub has them, a medium and a question, and what transformers answers.
struct WholeFolder {
  let path: String
  /// The picture or sound, by its option and path.
  let medium: (option: String, path: String)
  let question: String
  let expected: JSONValue
  let temporary: TemporaryFolder

  /// The options of a command that ask the question.
  var prompt: [String] { [medium.option, medium.path, "--text", question] }

  /// Puts the weights of a family's oracle and the other files of its folder together.
  init(_ family: String) throws {
    temporary = try TemporaryFolder()
    let whole = Fixtures.url("whole_folders/\(family)")
    for source in [Fixtures.url(family), whole] {
      for name in try FileManager.default.contentsOfDirectory(atPath: source.path)
      where !name.contains("case") && !name.contains("expected") && !name.contains("transformers5") {
        let target = temporary.url(name)
        try? FileManager.default.removeItem(at: target)
        try FileManager.default.copyItem(at: source.appendingPathComponent(name), to: target)
      }
    }
    expected = try JSONValue(parsing: [UInt8](Data(contentsOf: whole.appendingPathComponent("case.json"))))
    let isSound = FileManager.default.fileExists(atPath: temporary.path("sound.wav"))
    medium =
      isSound ? ("--audio", temporary.path("sound.wav")) : ("--image", temporary.path("picture.ppm"))
    question = try XCTUnwrap(expected["question"]?.stringValue)
    path = temporary.path("")
  }
}
