import Foundation
import RunKit
import TokenModel

@testable import Analysis

/// A made-up but plausible run: four layers, four heads, questions about a drawn and a spoken digit.
struct SyntheticAttention {
  var layerCount = 4
  var headCount = 4
  var sampleCount = 40
  var highlightCount = 6
  var sinks = AttentionDefinition.Sinks.auto
  var interval = AttentionDefinition.Interval(replicates: 200)
  /// Longer answers, so that there are several query rows.
  var answerLength = 2
  /// Whether some samples have twice the audio tokens.
  var variesAudioTokens = false
  var question = "how much is the written digit plus the spoken one ?"

  static let types = [
    "difference", "larger", "same", "spoken", "spoken_even", "sum", "text_sum", "written", "written_even",
  ]
  private let groupRoles: [Role] = [.bos, .image, .audio, .instruction, .question, .response]

  var definition: AttentionDefinition {
    AttentionDefinition(
      queries: .answer, groups: groupRoles.map { .init(name: $0.rawValue, roles: [$0]) },
      layers: Array(0..<layerCount), heads: Array(0..<headCount), sinks: sinks, interval: interval)
  }

  var context: AttentionContext {
    AttentionContext(
      tool: .init(version: "0.1.0", commit: nil),
      model: .init(
        name: "avdigits", architecture: "avt_llama", layerCount: layerCount, headCount: headCount,
        keyValueHeadCount: 2, dtype: "bf16",
        files: [.init(name: "model.safetensors", sha256: String(repeating: "d8", count: 32))]),
      data: .init(
        name: "test.qa.jsonl", sha256: String(repeating: "a9", count: 32), sampleCount: sampleCount),
      definition: definition, seed: 0)
  }

  var samples: [AttentionSample] { (0..<sampleCount).map { .measured(record($0)) } }

  /// One sample; the same index always gives the same record.
  func record(_ index: Int) -> AttentionRecord {
    var stream = RandomStream(seed: 5, purpose: "synthetic attention", id: index)
    let type = Self.types[index % Self.types.count]
    let words = question.split(separator: " ").map(String.init)
    let audioTokens = variesAudioTokens && index % 3 == 0 ? 48 : 24
    let tokens = [1, 16, audioTokens, 2, words.count, answerLength - 1]
    let visible = [1, 16, Double(audioTokens), 2, Double(words.count), Double(answerLength - 1) / 2]
    let total = visible.reduce(0, +)

    var share: [Float] = []
    var sinkShare: [Float] = []
    var entropy: [Float] = []
    for layer in 0..<layerCount {
      for head in 0..<headCount {
        let row = shares(layer: layer, head: head, type: type, &stream)
        share += row
        sinkShare += [row[0] * 0.95, row[1] * 0.06, 0, 0, 0, 0]
        entropy.append(Float(1.2 + 1.5 * stream.uniform()))
      }
    }
    let queryTokens = (0..<answerLength).map { place in
      AttentionRecord.QueryToken(
        row: tokens.reduce(0, +) - answerLength + place, piece: place == 0 ? "<|assistant|>" : "1",
        predicts: place == answerLength - 1 ? "</s>" : "1",
        share: (0..<layerCount).flatMap { shares(layer: $0, head: place, type: type, &stream) })
    }
    let highlighted = index < highlightCount
    return AttentionRecord(
      index: index, id: "test/\(index)", hash: String(repeating: "0f", count: 32),
      clusters: ["image": "\(index / 2)", "audio": "\(index / 3)"],
      tags: ["type": type, "hint": index % 4 == 0 ? "right" : "none"],
      tokens: tokens, visible: visible, queryCount: answerLength, text: question, answer: "11",
      generated: index % 5 == 0 ? "10" : "11", share: share, sinkShare: sinks == .auto ? sinkShare : nil,
      sinks: [.init(row: 0, group: 0, piece: "<s>", rate: 0.62)]
        + (index % 3 == 0 ? [.init(row: 3, group: 1, piece: "image 2", rate: 0.31)] : []),
      entropy: entropy, baseline: visible.map { Float($0 / total) }, queryTokens: queryTokens,
      keys: highlighted ? keys(words, audioTokens: audioTokens, &stream) : nil,
      media: highlighted ? media(index, audioTokens: audioTokens, &stream) : [], rowSumError: 2.4e-7)
  }

  /// Shares that sum to 1: text first, audio in the middle, both media late, each head with a taste.
  private func shares(layer: Int, head: Int, type: String, _ stream: inout RandomStream) -> [Float] {
    let depth = layerCount == 1 ? 0 : Double(layer) / Double(layerCount - 1)
    let wantsImage = type.hasPrefix("written") ? 1.7 : type.hasPrefix("spoken") ? 0.6 : 1.1
    let wantsAudio = type.hasPrefix("spoken") ? 1.6 : type.hasPrefix("written") ? 0.5 : 1.1
    let taste = [1, head % 4 == 1 ? 2.2 : 0.8, head % 4 == 2 ? 2.4 : 0.8, 1, 1, 1]
    let weights = [
      0.02 + 0.1 * depth, (0.15 + 0.2 * depth) * wantsImage,
      (0.03 + 1.4 * depth * (1.15 - depth)) * wantsAudio,
      0.25 * (1.2 - depth), 0.55 * (1.3 - depth), 0.04 + 0.08 * depth,
    ]
    let drawn = zip(weights, taste).map { $0 * $1 * exp(0.35 * stream.normal()) }
    let sum = drawn.reduce(0, +)
    return drawn.map { Float($0 / sum) }
  }

  private func keys(_ words: [String], audioTokens: Int, _ stream: inout RandomStream) -> AttentionRecord.Keys
  {
    let pieces =
      ["<s>", "<|user|>"] + (0..<16).map { "image \($0)" } + (0..<audioTokens).map { "audio \($0)" }
      + words.map { "▁" + $0 } + ["<|assistant|>"] + ["1"].prefix(answerLength - 1)
    let groups =
      [0, 3] + [Int](repeating: 1, count: 16) + [Int](repeating: 2, count: audioTokens)
      + [Int](repeating: 4, count: words.count) + [3] + [5].prefix(answerLength - 1)
    let weights = groups.indices.map { key -> Double in
      let patch = key - 2
      let center = groups[key] == 1 && [5, 6, 9, 10].contains(patch) ? 3.0 : 1
      let voiced = groups[key] == 2 && (22..<34).contains(key) ? 2.5 : 1
      return center * voiced * exp(0.7 * stream.normal())
    }
    let sum = weights.reduce(0, +)
    return .init(share: weights.map { Float($0 / sum) }, pieces: pieces, groups: groups)
  }

  /// An 8 x 8 ring and a 40 x 48 voice with two formants.
  private func media(
    _ index: Int, audioTokens: Int, _ stream: inout RandomStream
  ) -> [AttentionRecord.Medium] {
    var image: [UInt8] = []
    for row in 0..<8 {
      for column in 0..<8 {
        let distance = hypot(Double(row) - 3.5, 1.3 * (Double(column) - 3.5))
        let ink = exp(-pow(distance - 2.6, 2)) * 190 + 20 + 16 * stream.normal()
        image.append(UInt8(min(255, max(0, ink))))
      }
    }
    var audio: [UInt8] = []
    for band in 0..<40 {
      for frame in 0..<48 {
        let voiced = exp(-pow(Double(frame - 22) / 10, 2))
        let first = exp(-pow(Double(band - 10) / 3 - sin(Double(frame) / 9 + Double(index)), 2))
        let second = 0.7 * exp(-pow(Double(band - 24) / 3 + 0.8 * sin(Double(frame) / 7), 2))
        let energy = 40 + 190 * voiced * (first + second) + 14 * stream.normal()
        audio.append(UInt8(min(255, max(0, energy))))
      }
    }
    return [
      .init(
        kind: "image", firstKey: 2, keys: 16, width: 8, height: 8, gridWidth: 4, gridHeight: 4, pixels: image),
      .init(
        kind: "audio", firstKey: 18, keys: audioTokens, width: 48, height: 40, gridWidth: audioTokens,
        gridHeight: 1, pixels: audio),
    ]
  }
}
