import Foundation
import XCTest

@testable import RunKit

final class AtomicFileTests: XCTestCase {
  func testContentsAreReplacedAndNothingElseIsLeft() throws {
    try withTemporaryFolder { folder in
      let url = folder.appendingPathComponent("file")
      try AtomicFile.write("first", to: url)
      try AtomicFile.write("second", to: url)
      XCTAssertEqual(try FileReader.text(of: url, limit: 6), "second")
      XCTAssertEqual(try names(in: folder), ["file"])
    }
  }

  /// Pieces around the size of the buffer, as arrays and as views.
  func testStreamedPiecesArriveInOrder() throws {
    try withTemporaryFolder { folder in
      let url = folder.appendingPathComponent("file")
      var expected: [UInt8] = []
      try AtomicFile.write(to: url) { file in
        for (index, size) in [0, 1, 300_000, 262_143, 1, 262_144, 5].enumerated() {
          let piece = [UInt8](repeating: UInt8(index), count: size)
          try index % 2 == 0 ? file.write(piece) : file.write(piece.span)
          expected += piece
        }
        XCTAssertEqual(file.count, expected.count)
      }
      XCTAssertEqual(try FileReader.bytes(of: url, limit: 1 << 20), expected)
    }
  }

  func testAFailureOfTheCallerLeavesTheOldFile() throws {
    struct Stopped: Error {}
    try withTemporaryFolder { folder in
      let url = folder.appendingPathComponent("file")
      try AtomicFile.write("old", to: url)
      XCTAssertThrowsError(
        try AtomicFile.write(to: url) { file in
          try file.write("new")
          throw Stopped()
        }
      ) { XCTAssertTrue($0 is Stopped) }
      XCTAssertEqual(try FileReader.text(of: url, limit: 100), "old")
      XCTAssertEqual(try names(in: folder), ["file"])
    }
  }

  func testEveryFailingStepLeavesTheOldOrTheNewFileAndNothingElse() throws {
    for (word, code, status) in [
      ("ENOSPC", FileError.Code.noSpace, ExitStatus.inputOutput), ("EIO", .failed, .inputOutput),
      ("EROFS", .readOnly, .cannotCreate),
    ] {
      for step in 1...4 {
        try withTemporaryFolder { folder in
          let url = folder.appendingPathComponent("file")
          try AtomicFile.write("old", to: url)
          let plan = FaultPlan(environment: ["MMPROBE_FAULT_FAIL": "\(step):\(word)"])
          XCTAssertThrowsError(
            try FaultPoint.$testPlan.withValue(plan) { try AtomicFile.write("new", to: url) }
          ) {
            XCTAssertEqual(($0 as? FileError)?.code, code)
            XCTAssertEqual(($0 as? FileError)?.exitStatus, status)
          }
          // Only the last step, the sync of the folder, comes after the new file is in place.
          XCTAssertEqual(try FileReader.text(of: url, limit: 100), step < 4 ? "old" : "new")
          XCTAssertEqual(try names(in: folder), ["file"])
        }
      }
    }
  }

  func testErrorsNameTheFinalPath() throws {
    try withTemporaryFolder { folder in
      let missing = folder.appendingPathComponent("no/file")
      XCTAssertThrowsError(try AtomicFile.write("", to: missing)) {
        XCTAssertEqual(
          $0 as? FileError, .cannotCreate(path: missing.path, reason: "No such file or directory"))
        XCTAssertEqual(($0 as? FileError)?.exitStatus, .cannotCreate)
      }
      XCTAssertThrowsError(try AtomicFile.write("", to: folder)) {
        XCTAssertEqual($0 as? FileError, .isFolder(path: folder.path, purpose: .writing))
        XCTAssertEqual(($0 as? FileError)?.exitStatus, .cannotCreate)
      }
    }
  }

  func testALongNameCanBeWritten() throws {
    try withTemporaryFolder { folder in
      let url = folder.appendingPathComponent(String(repeating: "n", count: 255))
      try AtomicFile.write("x", to: url)
      XCTAssertEqual(try FileReader.size(of: url), 1)
    }
  }

  func testASymbolicLinkKeepsStanding() throws {
    try withTemporaryFolder { folder in
      let (target, link) = (folder.appendingPathComponent("target"), folder.appendingPathComponent("link"))
      try AtomicFile.write("old", to: target)
      try FileManager.default.createSymbolicLink(atPath: link.path, withDestinationPath: "target")
      try AtomicFile.write("new", to: link)
      XCTAssertEqual(try FileReader.text(of: target, limit: 100), "new")
      XCTAssertEqual(try FileManager.default.destinationOfSymbolicLink(atPath: link.path), "target")
    }
  }

  /// A rename would put a plain file in the place of the device.
  func testADeviceIsWrittenAndStaysOne() throws {
    try AtomicFile.write("x", to: URL(fileURLWithPath: "/dev/null"))
    XCTAssertEqual(FileSystem.status(of: "/dev/null")?.kind, .other)
  }
}

final class FileReaderTests: XCTestCase {
  func testEveryRefusalHasItsCase() throws {
    try withTemporaryFolder { folder in
      let missing = folder.appendingPathComponent("missing")
      XCTAssertThrowsError(try FileReader.bytes(of: missing, limit: 1)) {
        XCTAssertEqual($0 as? FileError, .missing(path: missing.path))
        XCTAssertEqual(($0 as? FileError)?.exitStatus, .missingInput)
      }
      let file = folder.appendingPathComponent("file")
      try AtomicFile.write([0x61, 0xFF], to: file)
      XCTAssertThrowsError(try FileReader.bytes(of: file.appendingPathComponent("x"), limit: 1)) {
        XCTAssertEqual(($0 as? FileError)?.code, .missing)
      }
      XCTAssertThrowsError(try FileReader.bytes(of: folder, limit: 1)) {
        XCTAssertEqual($0 as? FileError, .isFolder(path: folder.path, purpose: .reading))
        XCTAssertEqual(($0 as? FileError)?.exitStatus, .missingInput)
      }
      XCTAssertThrowsError(try FileReader.bytes(of: URL(fileURLWithPath: "/dev/null"), limit: 1)) {
        XCTAssertEqual($0 as? FileError, .notRegular(path: "/dev/null"))
      }
      XCTAssertThrowsError(try FileReader.bytes(of: file, limit: 1)) {
        XCTAssertEqual($0 as? FileError, .tooLarge(path: file.path, size: 2, limit: 1))
        XCTAssertEqual(($0 as? FileError)?.exitStatus, .data)
      }
      XCTAssertThrowsError(try FileReader.text(of: file, limit: 2)) {
        XCTAssertEqual($0 as? FileError, .notText(path: file.path))
      }
      let loop = folder.appendingPathComponent("loop")
      try FileManager.default.createSymbolicLink(atPath: loop.path, withDestinationPath: "loop")
      XCTAssertThrowsError(try FileReader.bytes(of: loop, limit: 1)) {
        XCTAssertEqual(($0 as? FileError)?.code, .notReadable)
      }
    }
  }

  /// The kernel says such a file holds nothing.
  func testAFileOfUnknownSizeIsReadToItsEnd() throws {
    let url = URL(fileURLWithPath: "/proc/self/status")
    XCTAssertFalse(try FileReader.text(of: url, limit: 1 << 20).isEmpty)
    XCTAssertThrowsError(try FileReader.bytes(of: url, limit: 10))
  }

  func testAByteOrderMarkIsNotText() throws {
    try withTemporaryFolder { folder in
      let url = folder.appendingPathComponent("file")
      try AtomicFile.write([0xEF, 0xBB, 0xBF, 0x61], to: url)
      XCTAssertEqual(try FileReader.text(of: url, limit: 4), "a")
    }
  }

  func testEveryFileErrorSaysWhatAndWhatToDo() {
    let errors: [FileError] = [
      .missing(path: "p"), .notReadable(path: "p", reason: "r"), .isFolder(path: "p", purpose: .reading),
      .isFolder(path: "p", purpose: .writing), .notRegular(path: "p"),
      .tooLarge(path: "p", size: 2, limit: 1),
      .notText(path: "p"), .cannotCreate(path: "p", reason: "r"), .readOnly(path: "p"),
      .noSpace(path: "p", operation: .write), .failed(path: "p", operation: .sync, reason: "r"),
    ]
    XCTAssertEqual(Set(errors.map(\.code)), Set(FileError.Code.allCases))
    for error in errors {
      XCTAssertEqual(error.errorDescription?.hasPrefix("p: "), true)
      XCTAssertNotNil(error.recoverySuggestion)
      XCTAssertEqual(error.path, "p")
    }
  }
}

final class FaultPlanTests: XCTestCase {
  func testAPlanIsReadFromTheEnvironment() throws {
    XCTAssertNil(FaultPlan(environment: [:]))
    XCTAssertNil(FaultPlan(environment: ["MMPROBE_FAULT_FAIL": "x:EIO"]))
    let fails = try XCTUnwrap(FaultPlan(environment: ["MMPROBE_FAULT_FAIL": "2:EIO"]))
    XCTAssertEqual((0..<3).map { _ in fails.next() }, [.pass, .fail(errorNumber: EIO), .pass])
    let kills = try XCTUnwrap(FaultPlan(environment: ["MMPROBE_FAULT_KILL": "1", "MMPROBE_FAULT_TORN": "1"]))
    XCTAssertEqual(kills.next(), .kill(tears: true))
  }

  func testTheNumberOfPointsIsWritten() throws {
    try withTemporaryFolder { folder in
      let count = folder.appendingPathComponent("count")
      let plan = FaultPlan(environment: ["MMPROBE_FAULT_COUNT": count.path])
      try FaultPoint.$testPlan.withValue(plan) {
        try AtomicFile.write("x", to: folder.appendingPathComponent("file"))
        FaultPoint.writeCount()
      }
      XCTAssertEqual(try FileReader.text(of: count, limit: 10), "4\n")
    }
  }
}
