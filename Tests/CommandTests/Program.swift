import Foundation
import RunKit
import TestSupport
import XCTest

/// Runs the built program as a user does.
enum Program {
  /// What a run gave.
  struct Outcome {
    let status: Int32
    let output: String
    let errors: String

    /// A line of a table of errors: what was wrong, the command, the status and the message without folders; what a
    /// check found, where there is no error.
    func row(what: String, command: String, _ folder: TemporaryFolder) -> String {
      func shown(_ text: String) -> [Substring] {
        text.replacingOccurrences(of: folder.path("") + "/", with: "")
          .replacingOccurrences(of: Fixtures.url("").path + "/", with: "").split(separator: "\n")
      }
      let said = shown(errors).filter { $0.hasPrefix("error: ") || $0.hasPrefix("hint: ") }
      let lines = said.isEmpty ? shown(output) : said
      let message = lines.joined(separator: "<br>").replacingOccurrences(of: "|", with: "\\|")
      return "| \(what) | \(command) | \(status) | \(message) |\n"
    }
  }

  private final class Anchor {}

  /// The folder of everything that was built.
  private static let products: URL = {
    // On Linux the bundle of a test is the folder of all build products, on macOS a folder within it.
    let bundle = Bundle(for: Anchor.self).bundleURL
    return bundle.pathExtension == "xctest" ? bundle.deletingLastPathComponent() : bundle
  }()

  static let url = products.appendingPathComponent("mmprobe")

  /// Starts the program; output goes to files, since a full pipe would stop it.
  static func start(
    _ arguments: [String], environment: [String: String] = [:], output: URL, errors: URL,
    executable: URL = url
  ) throws -> Process {
    for file in [output, errors] { try Data().write(to: file) }
    let process = Process()
    process.executableURL = executable
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.filter {
      !$0.key.hasPrefix("MMPROBE_") && $0.key != "NO_COLOR" && $0.key != "CLICOLOR_FORCE"
    }.merging(environment) { $1 }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = try FileHandle(forWritingTo: errors)
    try process.run()
    return process
  }

  /// Runs the program to its end.
  static func run(
    _ arguments: [String], environment: [String: String] = [:], executable: URL = url
  ) throws -> Outcome {
    let folder = try TemporaryFolder()
    let (output, errors) = (folder.url("out"), folder.url("err"))
    let process = try start(
      arguments, environment: environment, output: output, errors: errors, executable: executable)
    process.waitUntilExit()
    return Outcome(
      status: process.terminationStatus,
      output: String(decoding: try Data(contentsOf: output), as: UTF8.self),
      errors: String(decoding: try Data(contentsOf: errors), as: UTF8.self))
  }

  /// Runs the program, which must succeed.
  @discardableResult
  static func succeed(
    _ arguments: [String], environment: [String: String] = [:], file: StaticString = #filePath,
    line: UInt = #line
  ) throws -> Outcome {
    let outcome = try run(arguments, environment: environment)
    XCTAssertEqual(outcome.status, 0, "\(arguments): \(outcome.errors)", file: file, line: line)
    return outcome
  }
}

/// A folder that goes when the last reference to it does.
final class TemporaryFolder: Sendable {
  private let root: URL

  init() throws {
    root = FileManager.default.temporaryDirectory.appendingPathComponent("mmprobe-test-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(at: root) }

  func url(_ name: String) -> URL { root.appendingPathComponent(name) }
  func path(_ name: String) -> String { url(name).path }
}

/// The model and data that come with mmprobe.
enum Embedded {
  static let model = Fixtures.url("avdigits_model").path
  static let data = Fixtures.avdigitsData("test.qa.jsonl").path
}
