import XCTest

@testable import RunKit

final class ExperimentReaderTests: XCTestCase {
  private enum Colour: String, CaseIterable { case red, green }

  private struct Options: Equatable {
    var steps: Int
    var rate: Double
    var limit: Int?
    var colour: Colour
    var isFast: Bool
    var names: [String]
    var parts: [Double]
    var effective: JSONObject

    init(_ text: String) throws {
      let reader = try ExperimentReader(path: "e.json", bytes: [UInt8](text.utf8))
      steps = try reader.integer("steps", in: 1...10)
      let inner = try reader.section("optimizer")
      rate = try inner.number("learning_rate", in: 0...1, default: 0.5)
      limit = try inner.optionalInteger("limit", in: 1...5)
      colour = try reader.choice("colour", default: .green)
      isFast = try reader.bool("fast", default: true)
      names = try reader.strings("names")
      parts = try reader.list("parts") { try $0.number("weight", in: 0...1) }
      try reader.finish()
      effective = reader.effective
    }
  }

  private func error(_ text: String) -> ExperimentError? {
    do {
      _ = try Options(text)
      return nil
    } catch { return error as? ExperimentError }
  }

  func testValuesAndDefaultsAreReadAndNoted() throws {
    let options = try Options(
      #"{"steps": 3, "optimizer": {"limit": 2}, "colour": "red", "names": ["a"], "parts": [{"weight": 0.25}]}"#
    )
    XCTAssertEqual(options.steps, 3)
    XCTAssertEqual(options.rate, 0.5)
    XCTAssertEqual(options.limit, 2)
    XCTAssertEqual(options.colour, .red)
    XCTAssertTrue(options.isFast)
    XCTAssertEqual(options.names, ["a"])
    XCTAssertEqual(options.parts, [0.25])
    XCTAssertEqual(
      JSONValue.object(options.effective).text(),
      #"{"steps":3,"optimizer":{"learning_rate":0.5,"limit":2},"colour":"red","fast":true,"names":["a"],"#
        + #""parts":[{"weight":0.25}]}"#)
  }

  func testAnUnknownKeyIsRefusedWithTheNearestName() {
    guard case .unknownKey(let path, let key, let nearest, _)? = error(#"{"steps": 3, "color": "red"}"#)
    else {
      return XCTFail("an unknown key passed")
    }
    XCTAssertEqual([path, key, nearest ?? ""], ["e.json", "color", "colour"])
    let inner = error(#"{"steps": 3, "optimizer": {"learning_rat": 1}}"#)
    XCTAssertEqual(
      inner?.errorDescription,
      "e.json: found the unknown key \"optimizer.learning_rat\". Did you mean \"learning_rate\"?")
    XCTAssertEqual(error(#"{"steps": 3, "parts": [{"weight": 1, "x": 1}]}"#)?.code, .unknownKey)
  }

  func testEveryErrorComesUpAndSaysWhatToDo() {
    let texts: [(String, ExperimentError.Code)] = [
      ("{", .malformed), ("[]", .wrongKind), ("{}", .missingKey), (#"{"steps": "3"}"#, .wrongKind),
      (#"{"steps": 11}"#, .outOfRange), (#"{"steps": 1.5}"#, .outOfRange),
      (#"{"steps": 1, "optimizer": {"learning_rate": -1}}"#, .outOfRange),
      (#"{"steps": 1, "optimizer": 1}"#, .wrongKind), (#"{"steps": 1, "colour": "rod"}"#, .outOfRange),
      (#"{"steps": 1, "fast": 1}"#, .wrongKind), (#"{"steps": 1, "names": [1]}"#, .wrongKind),
      (#"{"steps": 1, "parts": [1]}"#, .wrongKind), (#"{"steps": 1, "parts": [{}]}"#, .missingKey),
      (#"{"steps": 1, "x": 1}"#, .unknownKey),
    ]
    for (text, code) in texts {
      let error = error(text)
      XCTAssertEqual(error?.code, code, text)
      XCTAssertEqual(error?.path, "e.json", text)
      XCTAssertEqual(error?.errorDescription?.hasPrefix("e.json: "), true, text)
      XCTAssertNotNil(error?.recoverySuggestion, text)
    }
    XCTAssertEqual(Set(texts.map(\.1)), Set(ExperimentError.Code.allCases))
    XCTAssertTrue(
      error(#"{"steps": 1, "colour": "rod"}"#)?.errorDescription?.contains("Did you mean 'red'?") ?? false)
  }
}
