import Foundation
import TestSupport
import XCTest

@testable import TokenModel

/// How fast texts are cut, and that the time grows with the length alone.
///
/// `MMPROBE_TOKENIZER` names a folder with another tokenizer, of a vocabulary as large as real ones.
final class TokenizerSpeedTests: XCTestCase {
  private func tokenizer(_ name: String) throws -> BytePairTokenizer {
    if let path = ProcessInfo.processInfo.environment["MMPROBE_TOKENIZER"] {
      return try BytePairTokenizer(folder: URL(fileURLWithPath: path, isDirectory: true))
    }
    return try BytePairTokenizer(
      path: name, tokenizer: Fixtures.bytes("hf_tokenizers/\(name)/tokenizer.json"))
  }

  /// The pages of the documentation, again and again.
  private func pages(_ count: Int) throws -> String {
    let folder = Fixtures.url("../../Documentation").standardizedFileURL
    var text = ""
    for name in try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
    where name.hasSuffix(".md") {
      text += String(decoding: try Data(contentsOf: folder.appendingPathComponent(name)), as: UTF8.self)
    }
    var bytes = Array(text.utf8)
    while bytes.count < count { bytes += bytes }
    return String(decoding: bytes.prefix(count), as: UTF8.self)
  }

  private func seconds(_ tokenizer: BytePairTokenizer, _ text: String) throws -> Double {
    var best = Double.infinity
    for _ in 0..<3 {
      let start = ContinuousClock.now
      let ids = try tokenizer.encode(text)
      let elapsed = ContinuousClock.now - start
      XCTAssertGreaterThan(ids.count, 0)
      best = min(best, Double(elapsed.components.attoseconds) / 1e18 + Double(elapsed.components.seconds))
    }
    return best
  }

  func testTimeGrowsWithTheLengthAlone() throws {
    let megabyte = 1 << 20
    for name in ["qwen2", "llama3", "gpt2", "llama2_hub_style", "llama_metaspace_first"] {
      let tokenizer = try tokenizer(name)
      let pages = try pages(megabyte)
      let line = pages.split(whereSeparator: \.isNewline).joined(separator: " ")
      let texts = [
        ("pages", pages), ("one line", line), ("no spaces", line.filter { $0 != " " }),
        ("one word", String(repeating: "helloworldthe", count: megabyte / 13)),
        ("Chinese", String(repeating: "我们在这里看见一个人。", count: megabyte / 33)),
        ("spaces", String(repeating: " ", count: megabyte)),
      ]
      var speeds: [String] = []
      for (kind, text) in texts {
        let whole = try seconds(tokenizer, text)
        let quarter = try seconds(
          tokenizer, String(decoding: Array(text.utf8).prefix(text.utf8.count / 4), as: UTF8.self))
        // Other work on the machine may halve the speed of one of them; quadratic time would make it 16.
        XCTAssertLessThan(whole, 10 * quarter + 0.05, "\(name), \(kind)")
        speeds.append("\(kind) \((Double(text.utf8.count) / whole / 1e5).rounded() / 10)")
      }
      print("\(name), MB/s: \(speeds.joined(separator: ", "))")
    }
  }
}
