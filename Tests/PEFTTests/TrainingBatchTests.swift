import Foundation
import TestSupport
import TokenModel
import XCTest

@testable import PEFT
@testable import TensorCore

/// Packed questions give the numbers of separate sequences.
final class TrainingBatchTests: XCTestCase {
  private func checkpoint() throws -> (Checkpoint, AVTLlamaModel) {
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    return (checkpoint, try XCTUnwrap(checkpoint.model as? AVTLlamaModel))
  }

  func testTheLossOfPackedQuestionsIsThatOfSeparateOnes() throws {
    let (checkpoint, model) = try checkpoint()
    let tokenizer = try checkpoint.requiredTokenizer()
    let data = try DataSet(Fixtures.avdigitsData("test.qa.jsonl"))
    let questions = try TrainingQuestions(data, model: model, tokenizer: tokenizer)
    var batch = TrainingBatch()
    var expected: [Float] = []
    // Two groups of three questions each, asked about the media of their first one.
    for start in [0, 3] {
      let media = try data.sample(at: start, for: model).media
      batch.append(
        opening: (questions.opening, questions.openingRoles),
        media: media.map { medium in
          let elements = model.normalised(medium)
          let grid = model.grid(of: medium)
          return (
            medium.modality, model.inputOrder(of: medium.modality).map { elements[$0] },
            grid.rows * grid.columns
          )
        },
        questions: (start..<start + 3).map { questions.groups[$0].questions[0] })
      for index in start..<start + 3 {
        var sample = try data.sample(at: index, for: model)
        sample.media = media
        let prompt = try checkpoint.prompt(for: sample, includesAnswer: true)
        var options = ForwardOptions()
        options.logits = .rows(Array(prompt.promptCount - 1..<prompt.count - 1))
        let result = model.decoder.forward(
          model.embeddings(prompt), context: TokenContext(roles: prompt.spans.roles), options: options)
        let labels = prompt.answerPositions.map { prompt.ids[prompt.spans.sources[$0]] }
        expected += try XCTUnwrap(result.logits).crossEntropy(labels: labels).hostValues()
      }
    }
    var options = ForwardOptions()
    options.logits = .rows(batch.lossRows)
    let result = model.decoder.forward(batch.embeddings(model), context: batch.context, options: options)
    let losses = try XCTUnwrap(result.logits).crossEntropy(labels: batch.labels)
    XCTAssertGreaterThan(expected.count, 11)
    // The same sums in another order of blocks.
    assertClose(losses, expected.map(Double.init), shape: [expected.count], absolute: 1e-4, relative: 1e-4)
  }

  func testMediaOfABatchHaveTheBitsOfSingleOnes() throws {
    let (_, model) = try checkpoint()
    let data = try DataSet(Fixtures.avdigitsData("test.qa.jsonl"))
    for modality in model.modalities {
      let media = try (0..<5).flatMap { try data.sample(at: $0, for: model).media }
        .filter { $0.modality == modality }
      let inputs = media.flatMap { medium -> [Float] in
        let elements = model.normalised(medium)
        return model.inputOrder(of: modality).map { elements[$0] }
      }
      let rows = model.grid(of: media[0]).rows * model.grid(of: media[0]).columns
      let together = model.mediaEmbeddings(
        modality, inputs: Tensor(inputs, shape: [media.count * rows, inputs.count / (media.count * rows)]))
      assertSameBits(together, Tensor.concatenated(media.map(model.mediumEmbeddings)), modality.rawValue)
    }
  }

  func testShiftsRepeatTheEdge() {
    let elements: [Float] = [1, 2, 3, 4, 5, 6]
    XCTAssertEqual(
      MediaAugmentation.shifted(elements, shape: [2, 3], rows: 1, columns: 0), [1, 2, 3, 1, 2, 3])
    XCTAssertEqual(
      MediaAugmentation.shifted(elements, shape: [1, 2, 3], rows: 0, columns: -2), [3, 3, 3, 6, 6, 6])
    XCTAssertEqual(MediaAugmentation.shifted(elements, shape: [2, 3], rows: 0, columns: 0), elements)
  }
}
