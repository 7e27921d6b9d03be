import Foundation
import RunKit

extension FuzzTarget {
  /// Whole text files.
  static let text = FuzzTarget(
    "text", errors: [FileError.self],
    seeds: [[FuzzFile("file.txt", [0xEF, 0xBB, 0xBF] + "ключ: é\r\n".utf8, .binary(headerCount: 16))]],
    directed: [
      { _ in [] },
      { random in [place(random.pick([.folder, .link(to: "/dev/null"), .link(to: "file.txt")]))] },
      { random in [place(.sparse([], count: random.pick([1 << 16, 1 << 16 + 1, 1 << 30])))] },
      { random in [place(.bytes(random.pick([[0xFF], [0xC0, 0x80], [0x61, 0xE2, 0x82]])))] },
    ],
    read: { folder in
      let url = URL(fileURLWithPath: "\(folder)/file.txt")
      let text = try FileReader.text(of: url, limit: 1 << 16)
      let size = try FileReader.size(of: url)
      guard text.utf8.count == size || text.utf8.count == size - 3 else {
        throw FuzzFailure(message: "a text does not have the bytes of its file")
      }
      let hash = try SHA256.hexadecimal(ofFile: url)
      guard hash == SHA256.hexadecimal(of: try contents(url.path)) else {
        throw FuzzFailure(message: "a file has two checksums")
      }
    })

  private static func place(_ contents: FuzzFile.Contents) -> FuzzFile {
    var file = FuzzFile("file.txt", [], .binary(headerCount: 0))
    file.contents = contents
    return file
  }

  /// Lines of JSON, read as written by hand and as left by a killed process.
  static let jsonLines = FuzzTarget(
    "lines", errors: [],
    seeds: [[FuzzFile("a.jsonl", [UInt8](jsonLinesText.utf8), .jsonLines(words: ["a", "b", ""]))]],
    directed: [
      { random in
        let bytes = [UInt8](jsonLinesText.utf8)
        return [FuzzFile("a.jsonl", Array(bytes.prefix(random.below(bytes.count))), .jsonLines(words: ["a"]))]
      }
    ],
    read: { folder in
      let url = URL(fileURLWithPath: "\(folder)/a.jsonl")
      let written = try JSONLinesReader(url, lineLimit: 1 << 12).remainingLines()
      let recovered = try JSONLinesReader(url, ending: .recovering, lineLimit: 1 << 12).remainingLines()
      guard recovered.count...recovered.count + 1 ~= written.count,
        try contents(url.path).last ?? 0x0A == 0x0A
      else {
        throw FuzzFailure(message: "recovery dropped more than the last line, or left a torn one")
      }
    })
}

private let jsonLinesText = "{\"a\":1}\n\n[1,2]\r\n\"\u{00E9}\"\n{\"b\":[null,true,2.5]}\n"
