public import Foundation

/// Reads a JSON Lines file record by record, in memory bounded by its longest line.
///
/// Empty lines, carriage returns before the line feed and a byte-order mark at the start are passed over. Each
/// other line is one JSON document.
public final class JSONLinesReader {
  /// How a file that does not end with a line feed is taken.
  public enum Ending: Sendable {
    /// The last line counts, as in files written by hand.
    case asWritten
    /// The last line was cut short by a killed process: it is truncated off the file.
    case recovering
  }

  /// A record and where it stood.
  public struct Line: Equatable, Sendable {
    /// The number of the line, from 1.
    public let number: Int
    /// What it says.
    public let value: JSONValue
  }

  /// The path, or "standard input", as messages name it.
  public let name: String
  private let file: OpenFile
  private let ending: Ending
  private let lineLimit: Int
  private var block: [UInt8] = []
  private var blockPosition = 0
  private var lineNumber = 0
  // Bytes of the file up to the end of the last complete line.
  private var completeSize = 0
  private var isAtEnd = false

  /// Opens a file.
  ///
  /// - Parameters:
  ///   - ending: What a missing last line feed means.
  ///   - lineLimit: The most bytes in a line.
  /// - Throws: `FileError`.
  public init(_ url: URL, ending: Ending = .asWritten, lineLimit: Int = 1 << 24) throws(FileError) {
    self.name = url.path
    self.file = try OpenFile(url.path, for: .reading)
    self.ending = ending
    self.lineLimit = lineLimit
  }

  private init(standardInputWithLineLimit lineLimit: Int) {
    self.name = OpenFile.standardInput.path
    self.file = OpenFile.standardInput
    self.ending = .asWritten
    self.lineLimit = lineLimit
  }

  /// Reads standard input.
  public static func standardInput(lineLimit: Int = 1 << 24) -> JSONLinesReader {
    JSONLinesReader(standardInputWithLineLimit: lineLimit)
  }

  /// The next record, or nil after the last.
  ///
  /// - Throws: `JSONLinesError` naming file and line, or `FileError`.
  public func next() throws -> Line? {
    while let bytes = try nextLine() {
      if bytes.allSatisfy({ $0 == 0x20 || $0 == 0x09 }) { continue }
      do {
        return Line(number: lineNumber, value: try JSONValue(parsing: bytes))
      } catch {
        throw JSONLinesError.malformed(path: name, line: lineNumber, reason: error)
      }
    }
    return nil
  }

  /// All records of a file that fits into memory.
  ///
  /// - Throws: As `next()`.
  public func remainingLines() throws -> [Line] {
    var lines: [Line] = []
    while let line = try next() { lines.append(line) }
    return lines
  }

  /// The bytes of the next line without its end, or nil after the last.
  private func nextLine() throws -> [UInt8]? {
    if isAtEnd { return nil }
    var line: [UInt8] = []
    while true {
      if blockPosition == block.count {
        block = try file.read(upTo: 1 << 16)
        blockPosition = 0
        if block.isEmpty { return try lastLine(line) }
      }
      let rest = block[blockPosition...]
      let end = rest.firstIndex(of: 0x0A)
      line += rest[..<(end ?? rest.endIndex)]
      blockPosition = end.map { $0 + 1 } ?? block.count
      guard line.count <= lineLimit else {
        throw JSONLinesError.tooLong(path: name, line: lineNumber + 1, limit: lineLimit)
      }
      if end != nil {
        lineNumber += 1
        completeSize += line.count + 1
        return trimmed(line)
      }
    }
  }

  private func lastLine(_ line: [UInt8]) throws -> [UInt8]? {
    isAtEnd = true
    if line.isEmpty { return nil }
    switch ending {
    case .asWritten:
      lineNumber += 1
      return trimmed(line)
    case .recovering:
      let target = try OpenFile(name, for: .shortening)
      try target.truncate(to: completeSize)
      try target.sync()
      return nil
    }
  }

  private func trimmed(_ line: [UInt8]) -> [UInt8] {
    var line = line
    if lineNumber == 1, line.starts(with: [0xEF, 0xBB, 0xBF]) { line.removeFirst(3) }
    if line.last == 0x0D { line.removeLast() }
    return line
  }
}

/// Why a JSON Lines file was refused.
public enum JSONLinesError: DescribedError {
  case malformed(path: String, line: Int, reason: JSONError)
  case tooLong(path: String, line: Int, limit: Int)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case malformed = "json_lines_malformed"
    case tooLong = "json_lines_too_long"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .malformed: .malformed
    case .tooLong: .tooLong
    }
  }

  /// The file concerned.
  public var path: String? {
    switch self {
    case .malformed(let path, _, _), .tooLong(let path, _, _): path
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .malformed(let path, let line, let reason):
      "\(path):\(line): \(reason.errorDescription ?? "not JSON")"
    case .tooLong(let path, let line, let limit):
      "\(path):\(line): found a line of more than \(limit) bytes"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .malformed: "write one JSON document on each line, and save the file as UTF-8"
    case .tooLong: "check that this is a JSON Lines file, with one record on each line"
    }
  }
}
