import Foundation
import XCTest

@testable import RunKit

final class RunFolderTests: XCTestCase {
  private let configuration = members(of: ["dtype": "f32", "limit": 5, "ci": ["level": 0.95], "threads": 2])
  private let facts = RunFolder.Facts(version: "1.2.3", arguments: ["mmprobe", "attention"], threads: 2)

  private func open(
    _ url: URL, _ mode: RunFolder.Mode, configuration: JSONObject? = nil, seconds: Double = 0
  ) throws -> RunFolder {
    try RunFolder(
      at: url, mode: mode, configuration: configuration ?? self.configuration, volatileKeys: ["threads"],
      facts: facts, now: { Date(timeIntervalSince1970: seconds) })
  }

  private func text(_ folder: URL, _ name: String) throws -> String {
    try FileReader.text(of: folder.appendingPathComponent(name), limit: 1 << 20)
  }

  private func record(_ folder: URL) throws -> JSONObject {
    try XCTUnwrap(JSONValue(parsing: text(folder, "run.json")).objectValue)
  }

  func testANewRunWritesItsFactsAndOptions() throws {
    try withTemporaryFolder { folder in
      let url = folder.appendingPathComponent("runs/new")
      let run = try open(url, .fresh)
      XCTAssertFalse(run.isResumed)
      XCTAssertEqual(try text(url, "config.json"), JSONValue.object(configuration).text(.indented) + "\n")
      XCTAssertEqual(try record(url)["status"], "running")
      try run.write(["a": 1], to: "result.json")
      try run.finish(.complete, notes: members(of: ["samples": 3]))
      let record = try record(url)
      XCTAssertEqual(record["schema"], "mmprobe.run/v1")
      XCTAssertEqual(record["status"], "complete")
      XCTAssertEqual(record["argv"], ["mmprobe", "attention"])
      XCTAssertEqual(record["started"], "1970-01-01T00:00:00Z")
      XCTAssertEqual(record["files"], ["config.json", "result.json"])
      XCTAssertEqual(record["samples"], 3)
      XCTAssertEqual(record["resumed"], 0)
      XCTAssertEqual(try names(in: url), [".mmprobe-lock", "config.json", "result.json", "run.json"])
    }
  }

  func testAFreshRunRefusesAFolderThatIsNotEmpty() throws {
    try withTemporaryFolder { folder in
      try AtomicFile.write("mine", to: folder.appendingPathComponent("notes.txt"))
      for mode in RunFolder.Mode.allCases {
        XCTAssertThrowsError(try open(folder, mode)) {
          XCTAssertEqual(($0 as? RunFolderError)?.code, mode == .fresh ? .notEmpty : .notARun)
          XCTAssertEqual(($0 as? RunFolderError)?.exitStatus, .cannotCreate)
        }
      }
      XCTAssertEqual(try names(in: folder), ["notes.txt"])
      let url = folder.appendingPathComponent("run")
      try open(url, .fresh).finish(.complete)
      XCTAssertThrowsError(try open(url, .fresh)) {
        XCTAssertEqual($0 as? RunFolderError, .notEmpty(path: url.path, isRun: true))
      }
      let file = folder.appendingPathComponent("notes.txt")
      XCTAssertThrowsError(try open(file, .fresh)) {
        XCTAssertEqual($0 as? RunFolderError, .notAFolder(path: file.path))
      }
    }
  }

  func testASecondProcessIsToldWhoHoldsTheFolder() throws {
    try withTemporaryFolder { folder in
      let run = try open(folder, .fresh)
      for mode in RunFolder.Mode.allCases {
        XCTAssertThrowsError(try open(folder, mode)) {
          let holder = "process \(ProcessFacts.identifier) on \(ProcessFacts.host)"
          XCTAssertEqual($0 as? RunFolderError, .locked(path: folder.path, holder: holder))
        }
      }
      try run.finish(.stopped)
    }
  }

  func testTheLockGoesWithTheRun() throws {
    try withTemporaryFolder { folder in
      do { try open(folder, .fresh).finish(.stopped) }
      XCTAssertTrue(try open(folder, .resume).isResumed)
    }
  }

  func testAResumedRunKeepsItsRecordsAndItsStart() throws {
    try withTemporaryFolder { folder in
      do {
        let run = try open(folder, .fresh, seconds: 10)
        try run.appendingRecords(to: "samples.jsonl").append(["id": 0])
      }
      var changed = configuration
      changed["threads"] = 5
      let run = try open(folder, .resume, configuration: changed, seconds: 20)
      XCTAssertTrue(run.isResumed)
      var records: [JSONValue] = []
      try run.forEachRecord(of: "samples.jsonl") { records.append($0.value) }
      XCTAssertEqual(records, [["id": 0]])
      try run.finish(.complete)
      XCTAssertEqual(try record(folder)["started"], "1970-01-01T00:00:10Z")
      XCTAssertEqual(try record(folder)["finished"], "1970-01-01T00:00:20Z")
      XCTAssertEqual(try record(folder)["resumed"], 1)
      XCTAssertEqual(try record(folder)["files"], ["config.json", "samples.jsonl"])
      XCTAssertEqual(try text(folder, "config.json").contains("\"threads\": 2"), true)
    }
  }

  func testResumingWithOtherOptionsNamesThem() throws {
    try withTemporaryFolder { folder in
      do { try open(folder, .fresh).finish(.stopped) }
      let other = members(of: ["dtype": "bf16", "limit": 5.0, "ci": ["level": 0.9], "seed": 1])
      XCTAssertThrowsError(try open(folder, .resume, configuration: other)) {
        XCTAssertEqual(
          $0 as? RunFolderError,
          .configurationDiffers(
            path: folder.path,
            differences: [
              .init(key: "dtype", stored: "\"f32\"", asked: "\"bf16\""),
              .init(key: "limit", stored: "5", asked: "5.0"),
              .init(key: "ci.level", stored: "0.95", asked: "0.9"),
              .init(key: "seed", stored: nil, asked: "1"),
            ]))
        XCTAssertEqual(
          ($0 as? RunFolderError)?.errorDescription,
          "\(folder.path): was made with dtype \"f32\", this command asks \"bf16\"; limit 5, this command asks 5.0; "
            + "ci.level 0.95, this command asks 0.9; seed nothing, this command asks 1; a run cannot mix")
        XCTAssertEqual(($0 as? RunFolderError)?.exitStatus, .data)
      }
    }
  }

  func testOverwritingDeletesExactlyTheFilesOfTheRun() throws {
    try withTemporaryFolder { folder in
      let url = folder.appendingPathComponent("run")
      do {
        let run = try open(url, .fresh)
        try run.write("old", to: "table.csv")
        try run.appendingRecords(to: "samples.jsonl").append(1)
        try run.finish(.complete)
      }
      try AtomicFile.write("mine", to: url.appendingPathComponent("notes.txt"))
      try AtomicFile.write("precious", to: folder.appendingPathComponent("outside"))
      try AtomicFile.write("", to: url.appendingPathComponent(".mmprobe-1-0.partial"))
      // A record that was tampered with must not lead outside, nor into folders.
      try FileManager.default.createDirectory(
        at: url.appendingPathComponent("folder"), withIntermediateDirectories: false)
      var record = try record(url)
      record["files"] = .array((record["files"]?.arrayValue ?? []) + ["../outside", "..", "folder", 7, ""])
      try AtomicFile.write(JSONValue.object(record).text(), to: url.appendingPathComponent("run.json"))

      XCTAssertFalse(try open(url, .overwrite).isResumed)
      XCTAssertEqual(try names(in: url), [".mmprobe-lock", "config.json", "folder", "notes.txt", "run.json"])
      XCTAssertEqual(try names(in: folder), ["outside", "run"])
    }
  }

  func testAFolderThatOnlyLooksLikeARunIsLeftAlone() throws {
    for text in ["", "[]", "{\"schema\":\"other\"}", "{\"files\":[\"notes.txt\"]}"] {
      try withTemporaryFolder { folder in
        try AtomicFile.write(text, to: folder.appendingPathComponent("run.json"))
        try AtomicFile.write("mine", to: folder.appendingPathComponent("notes.txt"))
        for mode in [RunFolder.Mode.overwrite, .resume] {
          XCTAssertThrowsError(try open(folder, mode)) {
            XCTAssertEqual(($0 as? RunFolderError)?.code, .notARun)
          }
        }
        XCTAssertEqual(try names(in: folder), ["notes.txt", "run.json"])
      }
    }
  }

  func testResultsWithoutOptionsAreNotResumed() throws {
    try withTemporaryFolder { folder in
      do { try open(folder, .fresh).write("old", to: "table.csv") }
      try FileManager.default.removeItem(at: folder.appendingPathComponent("config.json"))
      XCTAssertThrowsError(try open(folder, .resume)) {
        XCTAssertEqual($0 as? RunFolderError, .configurationMissing(path: folder.path))
      }
      XCTAssertFalse(try open(folder, .overwrite).isResumed)
    }
  }

  func testAFileIsCutBackToASavedSize() throws {
    try withTemporaryFolder { folder in
      let run = try open(folder, .fresh)
      try run.cut("log.jsonl", to: 0)
      let writer = try run.appendingRecords(to: "log.jsonl", recordsPerSync: .max)
      try writer.append(["step": 1])
      let size = writer.size
      XCTAssertEqual(size, 11)
      try writer.append(["step": 2])
      try run.cut("log.jsonl", to: size)
      XCTAssertEqual(try FileReader.text(of: run.url(of: "log.jsonl"), limit: 100), "{\"step\":1}\n")
      XCTAssertThrowsError(try run.cut("log.jsonl", to: 12)) {
        XCTAssertEqual(
          $0 as? RunFolderError,
          .shortened(path: run.url(of: "log.jsonl").path, found: 11, expected: 12))
      }
    }
  }

  func testEveryRunFolderErrorSaysWhatAndWhatToDo() {
    let errors: [RunFolderError] = [
      .notAFolder(path: "p"), .notEmpty(path: "p", isRun: true), .notEmpty(path: "p", isRun: false),
      .notARun(path: "p", reason: "r"), .locked(path: "p", holder: "process 1"),
      .configurationDiffers(path: "p", differences: []), .configurationMissing(path: "p"),
      .shortened(path: "p", found: 1, expected: 2),
    ]
    XCTAssertEqual(Set(errors.map(\.code)), Set(RunFolderError.Code.allCases))
    for error in errors {
      XCTAssertEqual(error.errorDescription?.hasPrefix("p: "), true)
      XCTAssertNotNil(error.recoverySuggestion)
      XCTAssertEqual(error.path, "p")
    }
  }
}

/// The members of a literal.
private func members(of value: JSONValue) -> JSONObject { value.objectValue ?? JSONObject() }
