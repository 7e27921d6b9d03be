import Foundation
import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import Analysis

/// The items of the reference cases as the probes of contributions see them.
enum ContributionOracle {
  static let names = ["both", "image_only", "audio_only", "text_only", "swapped", "two_images"]

  /// A definition with one group a role.
  static func definition(_ contribution: ContributionDefinition) -> AttentionDefinition {
    AttentionDefinition(
      queries: .last, layers: Array(0..<4), heads: Array(0..<4), contribution: contribution)
  }

  /// The items of case "avdigits_model" as samples.
  static func samples(_ oracle: OracleCase) throws -> [Sample] {
    let table = try MediaTable(path: Fixtures.avdigitsData("test.safetensors").path)
    return try XCTUnwrap(oracle.description["items"]?.arrayValue).map { item in
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
      return Sample(
        id: name, media: media, question: try XCTUnwrap(item["question"]?.stringValue),
        answer: try XCTUnwrap(item["answer"]?.stringValue))
    }
  }

  /// A sample of the reference model ready to be explained.
  static func item(
    _ checkpoint: Checkpoint, _ sample: Sample, _ contribution: ContributionDefinition
  ) throws -> ContributionCase {
    let prompt = try checkpoint.prompt(for: sample)
    return ContributionCase(
      model: checkpoint.model, tokenizer: try checkpoint.requiredTokenizer(),
      definition: definition(contribution), contribution: contribution, prompt: prompt,
      embeddings: checkpoint.model.embeddings(prompt), answerID: nil)
  }

  /// The decoder of case "attribution" (the language model of a LLaVA checkpoint) and its context: role image or question.
  static func attribution(_ oracle: OracleCase) throws -> (
    decoder: LLaMADecoder, embeddings: Tensor, roles: [Role]
  ) {
    let folder = Fixtures.url("llava")
    let reader = try ConfigurationReader(
      path: "config.json", bytes: [UInt8](Data(contentsOf: folder.appendingPathComponent("config.json"))))
    let decoder = try LLaMADecoder(
      try LLaMAConfiguration(try reader.requiredSection("text_config")),
      weights: WeightSource(try ShardedTensors(folder: folder.path)).under("language_model"))
    let stored = try oracle.stored("inputs_embeds")
    let embeddings = Tensor(try stored.floats(), shape: Array(stored.shape.dropFirst()))
    return (decoder, embeddings, try oracle.integers("image_mask").map { $0 == 1 ? .image : .question })
  }
}
