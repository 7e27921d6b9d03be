import Foundation
import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import ClassicBench

/// AVDigits as it comes with the program, and every way in which its files can be wrong.
final class ClassicDataTests: XCTestCase {
  private let source = Fixtures.url("../../datasets/avdigits").standardizedFileURL

  private func copy() throws -> TemporaryDirectory {
    let folder = try TemporaryDirectory()
    for name in try FileManager.default.contentsOfDirectory(atPath: source.path) {
      try FileManager.default.copyItem(at: source.appendingPathComponent(name), to: url(folder, name))
    }
    return folder
  }

  private func url(_ folder: TemporaryDirectory, _ name: String) -> URL {
    URL(fileURLWithPath: folder.path).appendingPathComponent(name)
  }

  private func code(_ folder: TemporaryDirectory, _ modalities: [Modality]) -> String? {
    do {
      _ = try AVDigitsData.read(URL(fileURLWithPath: folder.path), modalities: modalities)
      return nil
    } catch let error as ClassicDataError {
      XCTAssertNotNil(error.errorDescription)
      XCTAssertNotNil(error.recoverySuggestion)
      return error.code.rawValue
    } catch {
      return "\(error)"
    }
  }

  func testWhatComesWithTheProgramIsRead() throws {
    let data = try AVDigitsData.read(source, modalities: [.image, .audio, .text])
    XCTAssertEqual(
      [data.training, data.validation, data.test].map(\.labels.count), [1157, 258, 382])
    XCTAssertEqual(data.classes.count, 10)
    XCTAssertEqual(data.training.inputs.map { $0.shape.dropFirst().reduce(1, *) }.prefix(2), [64, 1920])
    for input in data.training.inputs.prefix(2) {
      let values = input.doubleValues
      let mean = values.reduce(0, +) / Double(values.count)
      let square = values.reduce(0.0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
      XCTAssertEqual(mean, 0, accuracy: 0.01)
      XCTAssertEqual(square, 1, accuracy: 0.02)
    }
    // Each clue counts as many words as its line has.
    let lines = String(
      decoding: try Data(contentsOf: source.appendingPathComponent("test.jsonl")), as: UTF8.self
    )
    .split(separator: "\n")
    let texts = try lines.map { try XCTUnwrap(JSONValue(parsing: [UInt8]($0.utf8))["text"]?.stringValue) }
    let counts = data.test.inputs[2].hostRows().map { $0.reduce(0, +) }
    XCTAssertEqual(counts, texts.map { Float($0.split(separator: " ").count) })
  }

  func testMissingFilesAreNamed() throws {
    for name in ["dataset.json", "train.safetensors", "vocab.json", "val.jsonl"] {
      let folder = try copy()
      try FileManager.default.removeItem(at: url(folder, name))
      XCTAssertEqual(code(folder, [.image, .text]), "classic_missing_file", name)
    }
    XCTAssertEqual(code(try copy(), [.video]), "classic_unknown_modality")
  }

  func testWrongDocumentsAreRefused() throws {
    let documents = [
      "{", "{}", #"{"classes": ["a"]}"#, #"{"classes": ["0","1","2","3","4","5","6","7","8","9"]}"#,
      #"{"classes": ["0","1","2","3","4","5","6","7","8","9"], "normalisation": {"image": {"mean": 0, "std": 0}}}"#,
    ]
    for text in documents {
      let folder = try copy()
      try Data(text.utf8).write(to: url(folder, "dataset.json"))
      XCTAssertEqual(code(folder, [.image]), "classic_wrong_document", text)
    }
    let folder = try copy()
    try Data(#"{"a": 1}"#.utf8).write(to: url(folder, "vocab.json"))
    XCTAssertEqual(code(folder, [.text]), "classic_wrong_document")
  }

  func testRowsLabelsAndShapesAreChecked() throws {
    let short = try copy()
    let lines = String(decoding: try Data(contentsOf: url(short, "val.jsonl")), as: UTF8.self).split(
      separator: "\n")
    try Data(lines.dropLast().joined(separator: "\n").utf8).write(to: url(short, "val.jsonl"))
    XCTAssertEqual(code(short, [.text]), "classic_wrong_rows")
    XCTAssertNil(code(short, [.image]), "clues are not asked for")

    let classes = try copy()
    try Data(
      #"{"classes": ["a", "b"], "normalisation": {"image": {"mean": 0, "std": 1}}}"#.utf8
    ).write(to: url(classes, "dataset.json"))
    XCTAssertEqual(code(classes, [.image]), "classic_label_out_of_range")

    // The images get another shape with as many elements.
    let shape = try copy()
    let file = url(shape, "test.safetensors")
    var bytes = try Data(contentsOf: file)
    let range = try XCTUnwrap(bytes.range(of: Data("[382,1,8,8]".utf8)))
    bytes.replaceSubrange(range, with: Data("[382,64,1] ".utf8))
    try bytes.write(to: file)
    XCTAssertEqual(code(shape, [.image]), "classic_wrong_tensor")
  }
}
