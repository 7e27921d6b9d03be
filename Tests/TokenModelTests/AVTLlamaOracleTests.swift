import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// The reference model against transformers on six prompts, all media layouts.
final class AVTLlamaOracleTests: XCTestCase {
  private let items = ["both", "image_only", "audio_only", "text_only", "swapped", "two_images"]

  func testEveryReferenceTensor() throws {
    let oracle = try OracleCase("avdigits_model")
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    let tolerance = try XCTUnwrap(oracle.description["suggested_tolerance_abs"])
    func bound(_ name: String) throws -> Double { try XCTUnwrap(tolerance[name]?.doubleValue) }
    let listed = Set(oracle.listed)
    for item in items {
      let inputs = try ["input_ids", "image_u8", "audio_u8"].compactMap { name in
        listed.contains("\(item).\(name)") ? try oracle.stored("\(item).\(name)").renamed(name) : nil
      }
      let trace = try Trace(checkpoint.model)
      let raw = try TraceInputs(inputs, path: item, model: checkpoint.model)
      let outputs = try trace.run(raw)
      func values(_ name: String) throws -> [Float] {
        try XCTUnwrap(outputs.first { $0.name == name }).floats()
      }
      try oracle.compare(values("hidden.0"), with: "\(item).inputs_embeds", absolute: bound("inputs_embeds"))
      for layer in 1...4 {
        try oracle.compare(
          values("hidden.\(layer)"), with: "\(item).hidden.\(layer)", absolute: bound("hidden"))
      }
      for layer in 0..<4 {
        try oracle.compare(
          values("attention.\(layer)"), with: "\(item).attn.\(layer)", absolute: bound("attention"))
      }
      let logits = try values("logits")
      try oracle.compare(logits, with: "\(item).logits", absolute: bound("logits"))
      try oracle.compare(
        Array(logits.suffix(353)), with: "\(item).logits_last_f64", absolute: bound("logits"))
      if listed.contains("\(item).logits_f64") {
        try oracle.compare(logits, with: "\(item).logits_f64", absolute: bound("logits"))
      }

      let prompt = try checkpoint.model.expand(
        ids: raw.rows[0].ids, pieces: raw.rows[0].ids.map(String.init),
        roles: raw.rows[0].ids.enumerated().map { $0.offset == 0 ? .bos : .question }, media: raw.media,
        promptCount: raw.rows[0].ids.count, sample: item)
      let modality = prompt.spans.roles.map { $0 == .image ? 1 : $0 == .audio ? 2 : 0 }
      try oracle.compare(modality, with: "\(item).modality")
      try oracle.compare(prompt.spans.sources, with: "\(item).source")
      try oracle.compare(shares(of: prompt, checkpoint), with: "\(item).share", absolute: bound("share"))

      let answer = try Generator(checkpoint.model).answers(
        to: Generator.Start(
          embeddings: checkpoint.model.embeddings(prompt), context: TokenContext(roles: prompt.spans.roles)))
      try oracle.compare(answer[0].ids, with: "\(item).generated_ids")
    }
    // Contributions and "dataset.share" are compared by the tests of their probes, in AnalysisTests.
    oracle.finish { $0.contains("grad_x_input") || $0.contains("shapley") || $0 == "dataset.share" }
  }

  /// `[layer, head, group]` of the last prompt row; groups bos, text, image, audio.
  private func shares(of prompt: Prompt, _ checkpoint: Checkpoint) -> [Float] {
    final class Observer: ForwardObserver {
      var shares: [Float] = []
      func attentionRequest(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionRequest? {
        var request = AttentionRequest()
        request.queryRows = context.roles.indices.map { $0 == context.roles.count - 1 }
        request.groups = keyRows.groups(of: context) {
          $0 == .bos ? 0 : $0 == .image ? 2 : $0 == .audio ? 3 : 1
        }
        request.groupCount = 4
        request.wantsGroupMass = true
        return request
      }
      func observe(_ statistics: AttentionStatistics, layer: Int, context: TokenContext) {
        shares += statistics.groupMass?.hostValues() ?? []
      }
    }
    let observer = Observer()
    var options = ForwardOptions()
    options.observers = [observer]
    _ = checkpoint.model.decoder.forward(
      checkpoint.model.embeddings(prompt), context: TokenContext(roles: prompt.spans.roles), options: options)
    return observer.shares
  }

  /// Text to ids to rows, by the project's own prompt builder.
  func testPromptsHaveTheReferenceIDs() throws {
    let oracle = try OracleCase("avdigits_model")
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    let table = try MediaTable(path: Fixtures.avdigitsData("test.safetensors").path)
    for item in try XCTUnwrap(oracle.description["items"]?.arrayValue) {
      let name = try XCTUnwrap(item["name"]?.stringValue)
      var rows = [
        Modality.image: item["image_rows"]?.arrayValue?.compactMap(\.intValue) ?? [],
        .audio: item["audio_rows"]?.arrayValue?.compactMap(\.intValue) ?? [],
      ]
      let media = try XCTUnwrap(item["media"]?.arrayValue).compactMap(\.stringValue).map { kind -> Medium in
        let modality = Modality(rawValue: kind)
        let row = try XCTUnwrap(rows[modality]?.first)
        rows[modality]?.removeFirst()
        return try table.medium(modality, row: row, record: name, key: kind)
      }
      let sample = Sample(
        id: name, media: media, question: try XCTUnwrap(item["question"]?.stringValue),
        answer: item["answer"]?.stringValue)
      let prompt = try checkpoint.prompt(for: sample, includesAnswer: true)
      let ids = try XCTUnwrap(item["input_ids"]?.arrayValue).compactMap(\.intValue)
      let answer = try XCTUnwrap(item["answer_ids"]?.arrayValue).compactMap(\.intValue)
      XCTAssertEqual(prompt.ids, ids + answer, name)
      XCTAssertEqual(
        Array(prompt.pieces.prefix(ids.count)), item["pieces"]?.arrayValue?.compactMap(\.stringValue), name)
      XCTAssertEqual(prompt.promptCount, item["expanded_length"]?.intValue, name)
      XCTAssertEqual(prompt.spans.roles[0], .bos)
      XCTAssertEqual(prompt.spans.roles.count { $0 == .response }, answer.count)
    }
  }
}
