import Foundation
import TestSupport
import XCTest

/// A table that a page of Documentation ends a section with, and that a test prints.
enum PageTable {
  /// Compares the table with that of the page; `MMPROBE_UPDATE_HELP=1` writes it anew.
  static func check(_ table: String, page: String, section: String) throws {
    let url = Fixtures.url("../../Documentation/\(page)").standardizedFileURL
    var parts = String(decoding: try Data(contentsOf: url), as: UTF8.self).components(separatedBy: "\n## ")
    let index = try XCTUnwrap(parts.firstIndex { $0.hasPrefix(section + "\n") })
    let lead = try XCTUnwrap(parts[index].components(separatedBy: "\n| ").first)
    if ProcessInfo.processInfo.environment["MMPROBE_UPDATE_HELP"] == "1" {
      parts[index] = lead + "\n" + table
      try Data(parts.joined(separator: "\n## ").utf8).write(to: url)
    } else {
      XCTAssertEqual(parts[index], lead + "\n" + table)
    }
  }
}
