import Foundation
import RunKit
import TensorCore
import XCTest

final class MappedFileTests: XCTestCase {
  private var folder = ""

  override func setUpWithError() throws {
    folder = NSTemporaryDirectory() + "mapped-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  }

  override func tearDownWithError() throws {
    try FileManager.default.removeItem(atPath: folder)
  }

  func testBytesAreThoseOfTheFileAlsoAfterTheirPagesWereReleased() throws {
    let contents = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let path = "\(folder)/file"
    try Data(contents).write(to: URL(fileURLWithPath: path))
    let file = try MappedFile(path: path)
    XCTAssertEqual(file.count, contents.count)
    XCTAssertEqual(file.bytes(0..<file.count), contents)
    for range in [5_000..<70_000, 0..<1, 99_999..<100_000, -5..<200_000, 7..<7] {
      file.releasePages(range)
      XCTAssertEqual(file.bytes(4_990..<70_010), [UInt8](contents[4_990..<70_010]))
    }
    XCTAssertEqual(file.bytes(100_000..<100_000), [])
  }

  func testAnEmptyFileHasNoBytes() throws {
    let path = "\(folder)/empty"
    try Data().write(to: URL(fileURLWithPath: path))
    let file = try MappedFile(path: path)
    file.releasePages(0..<1)
    XCTAssertEqual(file.count, 0)
    XCTAssertEqual(file.bytes(0..<0), [])
  }

  func testWhatCannotBeMappedIsNamed() throws {
    let file = "\(folder)/file"
    try Data([1]).write(to: URL(fileURLWithPath: file))
    let tooLong = "\(folder)/" + String(repeating: "x", count: 300)
    let cases: [(String, FileError.Code)] = [
      ("\(folder)/missing", .missing), ("\(file)/below", .missing), (folder, .isFolder),
      ("/dev/null", .notRegular), (tooLong, .notReadable),
    ]
    for (path, code) in cases {
      XCTAssertThrowsError(try MappedFile(path: path), path) {
        XCTAssertEqual(($0 as? FileError)?.code, code, path)
        XCTAssertTrue($0.localizedDescription.hasPrefix(path))
      }
    }
  }
}
