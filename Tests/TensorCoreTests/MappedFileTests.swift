import Foundation
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

  func testWhatCannotBeMappedIsNamed() throws {
    try Data().write(to: URL(fileURLWithPath: "\(folder)/empty"))
    let tooLong = "\(folder)/" + String(repeating: "x", count: 300)
    let cases: [(String, MappedFileError.Code)] = [
      ("\(folder)/missing", .missing), (folder, .notARegularFile), ("/dev/null", .notARegularFile),
      ("\(folder)/empty", .empty), ("\(folder)/empty/below", .cannotOpen), (tooLong, .cannotOpen),
    ]
    for (path, code) in cases {
      XCTAssertThrowsError(try MappedFile(path: path), path) {
        XCTAssertEqual(($0 as? MappedFileError)?.code, code, path)
        XCTAssertTrue($0.localizedDescription.hasPrefix(path))
      }
    }
  }
}
