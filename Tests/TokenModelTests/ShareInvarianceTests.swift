import Foundation
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// Shares against sums over reference attention, and what must not change them.
final class ShareInvarianceTests: XCTestCase {
  /// Four groups: runs of three keys in turn, so that groups are neither contiguous nor equal.
  private static func group(of key: Int) -> Int { key / 3 % 4 }

  private final class Observer: ForwardObserver {
    var shares: [[Float]] = []
    func attentionRequest(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionRequest? {
      var request = AttentionRequest()
      request.groups = [Int](repeating: -1, count: keyRows.count)
      for (sequence, roles) in context.keyRoles.enumerated() {
        for key in roles.indices {
          request.groups[keyRows.starts[sequence] + key] = ShareInvarianceTests.group(of: key)
        }
      }
      request.groupCount = 4
      request.wantsGroupMass = true
      return request
    }
    func observe(_ statistics: AttentionStatistics, layer: Int, context: TokenContext) {
      shares.append(statistics.groupMass?.hostValues() ?? [])
    }
  }

  private func run(
    _ model: any LanguageModel, _ sequences: [[Int]], queryBlock: Int = 128
  ) -> (shares: [[Float]], logits: Tensor?) {
    let observer = Observer()
    var options = ForwardOptions()
    options.observers = [observer]
    options.queryBlock = queryBlock
    options.logits = .all
    let context = TokenContext(
      segments: RowSegments(lengths: sequences.map(\.count)),
      positions: sequences.flatMap { Array($0.indices) },
      roles: sequences.flatMap { $0.map { _ in Role.question } })
    let result = model.decoder.forward(
      model.textEmbeddings(sequences.flatMap { $0 }), context: context, options: options)
    return (observer.shares, result.logits)
  }

  /// Every layer, head and query row of the cases, summed in Float64. Tolerance: that of the issue, 1e-5.
  func testSharesEqualSumsOverTheReferenceAttention() throws {
    var (count, worst) = (0, 0.0)
    for name in ["llama", "llama_rope3", "llama_bf16_sharded", "llama_f16_bias"] {
      let oracle = try OracleCase(name)
      let checkpoint = try Checkpoint(folder: Fixtures.url(name))
      let configuration = checkpoint.model.decoder.configuration
      for prefix in ["a", "b"] {
        let ids = try oracle.integers("\(prefix).input_ids")
        let shares = run(checkpoint.model, [ids]).shares
        for layer in 0..<configuration.layerCount {
          let attention = try oracle.stored("\(prefix).attn.\(layer)").doubles()
          for row in ids.indices {
            for head in 0..<configuration.headCount {
              var sums = [Double](repeating: 0, count: 4)
              for key in ids.indices {
                sums[Self.group(of: key)] += attention[(head * ids.count + row) * ids.count + key]
              }
              for group in 0..<4 {
                let found = Double(shares[layer][(row * configuration.headCount + head) * 4 + group])
                XCTAssertEqual(found, sums[group], accuracy: 1e-5, "\(name) \(prefix) layer \(layer)")
                worst = max(worst, abs(found - sums[group]))
                count += 1
              }
            }
          }
        }
      }
    }
    print("shares against reference attention: \(count) compared, largest difference \(worst)")
  }

  private func longPrompts() -> [[Int]] {
    [300, 41, 1, 129].enumerated().map { index, length in
      (0..<length).map { $0 == 0 ? 1 : 3 + ($0 * 37 + index * 101) % 500 }
    }
  }

  /// To the bit: products run on tiles whose borders do not depend on the block.
  func testBlockSizesAgree() throws {
    let model = try Checkpoint(folder: Fixtures.url("llama")).model
    let prompt = longPrompts()[0]
    let whole = run(model, [prompt], queryBlock: prompt.count)
    for block in [1, 7, 64, 128] {
      let found = run(model, [prompt], queryBlock: block)
      XCTAssertEqual(found.shares, whole.shares, "block \(block)")
      XCTAssertEqual(found.logits, whole.logits, "block \(block)")
    }
  }

  /// A ragged batch gives every sequence the bits it has alone: logits and shares.
  func testARaggedBatchEqualsItsSequencesOneByOne() throws {
    let folders = [Fixtures.url("llama"), Fixtures.url("llama_bf16_sharded"), Fixtures.url("llama_f16_bias")]
    for folder in folders {
      let model = try Checkpoint(folder: folder).model
      let prompts = longPrompts()
      let together = run(model, prompts)
      let logits = try XCTUnwrap(together.logits)
      var start = 0
      for prompt in prompts {
        let alone = run(model, [prompt])
        XCTAssertEqual(alone.logits, logits.slice(start..<start + prompt.count), folder.lastPathComponent)
        for (layer, shares) in alone.shares.enumerated() {
          let width = shares.count / prompt.count
          XCTAssertEqual(
            shares, Array(together.shares[layer][start * width..<(start + prompt.count) * width]),
            folder.lastPathComponent)
        }
        start += prompt.count
      }
    }
  }

  /// Causal: what comes later cannot change an earlier row, to the bit.
  func testLaterRowsDoNotChangeEarlierOnes() throws {
    let model = try Checkpoint(folder: Fixtures.url("llama")).model
    let prompt = longPrompts()[0]
    var changed = prompt
    for position in 200..<300 { changed[position] = 3 + (changed[position] * 7) % 500 }
    let (first, second) = (run(model, [prompt]), run(model, [changed]))
    XCTAssertEqual(first.logits?.slice(0..<200), second.logits?.slice(0..<200))
    XCTAssertNotEqual(first.logits?.slice(200..<201), second.logits?.slice(200..<201))
  }
}
