import Foundation
import RunKit
import XCTest

@testable import mmprobe

/// Wrong command lines: what is said and with which status the program ends.
final class UsageTests: XCTestCase {
  private func check(
    _ arguments: [String], _ message: String, hint: String? = nil, status: Int32 = 64,
    file: StaticString = #filePath,
    line: UInt = #line
  ) throws {
    let outcome = try Program.run(arguments)
    XCTAssertEqual(outcome.status, status, outcome.errors, file: file, line: line)
    XCTAssertEqual(outcome.output, "", file: file, line: line)
    let lines = outcome.errors.split(separator: "\n").map(String.init)
    XCTAssertEqual(lines.first, "error: " + message, file: file, line: line)
    if let hint { XCTAssertEqual(lines.last, "hint: " + hint, file: file, line: line) }
  }

  func testWrongNamesSuggestTheNearest() throws {
    try check(
      ["attn"], "unknown subcommand 'attn'. Did you mean 'attention'?",
      hint: "'mmprobe --help' lists the commands")
    try check(["verfy", "model"], "unknown subcommand 'verfy'. Did you mean 'verify'?")
    try check(["zzz"], "unknown subcommand 'zzz'.")
    try check(
      ["attention", "model", "--querys", "last"],
      "unknown option '--querys' of 'mmprobe attention'. Did you mean '--queries'?",
      hint: "'mmprobe attention --help' explains the options")
    try check(["--jsn"], "unknown option '--jsn' before the command. Did you mean '--json'?")
    try check(
      ["attention", "m", "--data", "d", "--queries", "anser"],
      "option '--queries': found 'anser', expected one of last, answer, generated, text, all. Did you mean 'answer'?"
    )
  }

  func testMissingAndExtraWords() throws {
    try check([], "no command given")
    try check(["inspect"], "'mmprobe inspect' needs MODEL")
    try check(["inspect", "a", "b"], "'mmprobe inspect' takes no further argument, found 'b'")
    try check(["trace", "m", "-o", "out"], "'mmprobe trace' needs --inputs FILE")
    try check(["trace", "m", "--inputs"], "option '--inputs' needs a value: --inputs FILE")
    try check(
      ["generate", "m", "--image", "--text", "x"], "option '--image' needs a value: --image FILE",
      hint:
        "a value that begins with a hyphen is written --image=VALUE; 'mmprobe generate --help' explains the options"
    )
    try check(["doctor", "--json=yes"], "option '--json' takes no value, found 'yes'")
    try check(["doctor", "--seed", "1", "--seed=2"], "option '--seed' is given twice")
  }

  func testValuesOutOfRangeNameTheRange() throws {
    try check(
      ["doctor", "--threads", "0"], "option '--threads': found '0', expected a whole number, 1 to 1024")
    try check(
      ["doctor", "--threads", "two"], "option '--threads': found 'two', expected a whole number, 1 to 1024")
    try check(
      ["generate", "m", "--text", "x", "--temperature", "-1"],
      "option '--temperature': found '-1', expected a number, 0 to 100")
    try check(
      ["generate", "m", "--text", "x", "--temperature", "nan"],
      "option '--temperature': found 'nan', expected a number, 0 to 100")
    try check(
      ["attention", "m", "--data", "d", "--confidence", "1"],
      "option '--confidence': found '1', expected a number, between 0 and 1, without these")
    try check(
      ["attention", "m", "--data", "d", "-o", "r", "--shard", "4/3"],
      "option '--shard': found '4/3', expected a part and a number of parts, as in 2/3")
    try check(
      ["attention", "m", "--data", "d", "--layers", "3-1"],
      "option '--layers': found '3-1', expected numbers from 0 and ranges, as in 0,1,8-15")
    try check(
      ["attention", Embedded.model, "--data", Embedded.data, "--layers", "0,4"],
      "option '--layers': found '4', expected at most 3: the model has 4 layers")
  }

  func testOptionsThatExcludeEachOther() throws {
    try check(
      ["attention", "m", "--data", "d", "--text", "x"],
      "--data, --from, and --text with media exclude each other", hint: "give one of them")
    try check(["attention", "m"], "'mmprobe attention' needs --data FILE, or --text TEXT with media")
    try check(
      ["attention", "m", "--data", "d", "--resume"], "--resume and --overwrite are for -o",
      hint: "give -o RUN")
    try check(["attention", "m", "--from", "f"], "--from takes no MODEL")
    try check(
      ["generate", "m", "--text", "x", "--top-k", "3"],
      "--top-k and --top-p are for drawing, but the temperature is 0", hint: "add --temperature, such as 0.8")
    try check(["inspect", "m", "--families"], "--families takes no MODEL, found 'm'")
  }

  func testMissingInputsAndBadDataHaveTheirStatus() throws {
    let folder = try TemporaryFolder()
    try check(
      ["inspect", folder.path("none")], "\(folder.path("none")): there is no such folder",
      hint: "check the spelling of the path", status: 66)
    try "{}".write(to: folder.url("config.json"), atomically: true, encoding: .utf8)
    let outcome = try Program.run(["inspect", folder.path("")])
    XCTAssertEqual(outcome.status, 65, outcome.errors)
    try "{\"model_type\": \"gpt2\"}".write(to: folder.url("config.json"), atomically: true, encoding: .utf8)
    let unsupported = try Program.run(["inspect", folder.path("")])
    XCTAssertEqual(unsupported.status, 69, unsupported.errors)
    XCTAssertTrue(unsupported.errors.contains("mmprobe inspect --families"), unsupported.errors)
  }

  func testATagThatNoSampleHasIsRefusedBeforeAnythingIsComputed() throws {
    let line = ["eval", Embedded.model, "--data", Embedded.data, "-n", "3", "--by"]
    let known = "expected one of hint, needs, type. Did you mean '"
    try check(line + ["typ"], "option '--by': found 'typ', " + known + "type'?")
    try check(
      line + ["type+hints"], "option '--by': found 'hints', " + known + "hint'?")
  }

  func testARunFolderIsNotOverwrittenUnasked() throws {
    let folder = try TemporaryFolder()
    let line = [
      "attention", Embedded.model, "--data", Embedded.data, "-n", "2", "-q", "-o", folder.path("run"),
    ]
    try Program.succeed(line)
    let again = try Program.run(line)
    XCTAssertEqual(again.status, 73)
    XCTAssertTrue(again.errors.contains("--resume"), again.errors)
    try Program.succeed(line + ["--overwrite"])
    let other = try Program.run(line + ["--queries", "last", "--resume"])
    XCTAssertEqual(other.status, 65)
    XCTAssertTrue(
      other.errors.contains("definition.queries \"answer\", this command asks \"last\""), other.errors)
  }

  func testErrorsWithJSONAreOneObjectOnStandardError() throws {
    for arguments in [
      ["attn", "--json"], ["inspect", "nowhere", "--json"], ["--json", "doctor", "--threads", "0"],
    ] {
      let outcome = try Program.run(arguments)
      XCTAssertEqual(outcome.output, "")
      let error = try XCTUnwrap(JSONValue(parsing: outcome.errors)["error"]?.objectValue)
      XCTAssertEqual(error.keys, ["code", "message", "hint", "path"])
      XCTAssertNotEqual(outcome.status, 0)
    }
    let missing = try JSONValue(parsing: try Program.run(["inspect", "nowhere", "--json"]).errors)["error"]
    XCTAssertEqual(missing?["code"], "checkpoint_no_folder")
    XCTAssertTrue(missing?["path"]?.stringValue?.hasSuffix("/nowhere") ?? false)
  }

  func testColourOnlyWhereItIsWanted() throws {
    XCTAssertFalse(try Program.run(["attn"]).errors.contains("\u{1B}"))
    let forced = ["CLICOLOR_FORCE": "1"]
    XCTAssertTrue(
      try Program.run(["attn"], environment: forced).errors.hasPrefix("\u{1B}[31merror:\u{1B}[0m"))
    XCTAssertFalse(
      try Program.run(["--no-color", "attn"], environment: ["NO_COLOR": "1"]).errors.contains("\u{1B}"))
    let both = ["CLICOLOR_FORCE": "1", "NO_COLOR": "1"]
    XCTAssertFalse(try Program.run(["attn"], environment: both).errors.contains("\u{1B}"))
  }

  func testResultsThatCannotBeWrittenAreAnError() throws {
    let shell = URL(fileURLWithPath: "/bin/sh")
    let full = try Program.run(["-c", "'\(Program.url.path)' --help >/dev/full"], executable: shell)
    XCTAssertEqual(full.status, 74)
    XCTAssertTrue(
      full.errors.hasPrefix("error: standard output: cannot write: the disk is full"), full.errors)
    let pipe = try Program.run(["-c", "'\(Program.url.path)' --help | head -n 1"], executable: shell)
    XCTAssertEqual(pipe.status, 0)
    XCTAssertEqual(pipe.errors, "")
  }

  func testWordsAfterTwoHyphensAreArguments() throws {
    let outcome = try Program.run(["inspect", "--", "--json"])
    XCTAssertEqual(outcome.status, 66)
    XCTAssertTrue(outcome.errors.contains("/--json: there is no such folder"), outcome.errors)
  }
}
