import Foundation
import PEFT
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// `mmprobe eval --conditions adapter-…` from the outside, against LoRA written out by hand.
final class PartialModalityTests: XCTestCase {
  /// W x + s · B A x for some rows of the prompt and for every row behind it, element by element.
  private struct ByHand: LinearLayer {
    let base: any LinearLayer
    let down: [Float]
    let up: [Float]
    let rank: Int
    let scale: Float
    /// Whether a row of the prompt of this role is adapted.
    let acts: @Sendable (Role) -> Bool

    var outputSize: Int { base.outputSize }
    var inputSize: Int { base.inputSize }
    func releasePages() { base.releasePages() }

    func callAsFunction(_ x: Tensor, _ context: TokenContext) -> Tensor {
      let output = base(x, context)
      let (values, frozen) = (x.hostValues(), output.hostValues())
      var result = frozen
      for row in 0..<x.rows where context.phase == .decode || acts(context.roles[row]) {
        var middle = [Double](repeating: 0, count: rank)
        for component in 0..<rank {
          for column in 0..<inputSize {
            middle[component] +=
              Double(down[component * inputSize + column]) * Double(values[row * inputSize + column])
          }
        }
        for column in 0..<outputSize {
          var sum = 0.0
          for component in 0..<rank { sum += Double(up[column * rank + component]) * middle[component] }
          result[row * outputSize + column] += Float(Double(scale) * sum)
        }
      }
      return Tensor(result, shape: output.shape)
    }
  }

  private func adapter(_ checkpoint: Checkpoint) throws -> (plan: AdapterPlan, tensors: [String: Tensor]) {
    let configuration = AdapterConfiguration(
      rank: 2, alpha: 4, selection: ModuleSelection(.pattern("model\\.layers\\..*(v_proj|up_proj)")))
    let plan = try AdapterPlan(configuration, ModelInventory(checkpoint), path: "test")
    let tensors = Dictionary(
      uniqueKeysWithValues: plan.slots.enumerated().map { index, slot in
        (slot.name, randomTensor(slot.shape, seed: UInt64(index + 1), scale: 0.4))
      })
    return (plan, tensors)
  }

  func testAnswersAreThoseOfAnAdapterByHand() throws {
    let folder = try TemporaryFolder()
    let checkpoint = try Checkpoint(folder: URL(fileURLWithPath: Embedded.model))
    let (plan, tensors) = try adapter(checkpoint)
    try plan.write(tensors, to: folder.url("adapter"))
    let data = try DataSet(URL(fileURLWithPath: Embedded.data))
    let tokenizer = try checkpoint.requiredTokenizer()
    let samples = try (0..<24).map { try data.sample(at: $0, for: checkpoint) }

    let text: Set<Role> = [.bos, .system, .instruction, .question, .response]
    let conditions: [(name: String, acts: @Sendable (Role) -> Bool)] = [
      ("full", { _ in true }), ("adapter-none", { _ in false }), ("adapter-image", { $0 == .image }),
      ("adapter-audio", { $0 == .audio }), ("adapter-text", { text.contains($0) }),
      ("adapter-image+audio", { $0 == .image || $0 == .audio }),
    ]
    var expected: [[String]] = []
    for (_, acts) in conditions {
      let model = try checkpoint.model { source in
        source.wrapping { layer, site in
          guard let module = plan.modules.first(where: { $0.site.name == site.name }),
            let down = tensors[site.name + ".lora_A.weight"], let up = tensors[site.name + ".lora_B.weight"]
          else { return layer }
          return ByHand(
            base: layer, down: down.hostValues(), up: up.hostValues(), rank: module.rank,
            scale: module.scale, acts: acts)
        }
      }
      var generator = Generator(model)
      generator.endIDs = Set(checkpoint.endIDs)
      generator.limit = 6
      expected.append(
        try samples.map { sample in
          let prompt = try checkpoint.prompt(for: sample)
          let answer = try XCTUnwrap(generator.answers(to: .init([prompt], model: model)).first)
          return try tokenizer.decode(answer.ids).trimmingCharacters(in: .whitespacesAndNewlines)
        })
    }
    // Conditions that all said the same would prove nothing.
    for place in 1..<expected.count {
      XCTAssertNotEqual(expected[place], expected[0], conditions[place].name)
    }
    XCTAssertEqual(Set(expected.map { $0.joined(separator: "|") }).count, conditions.count)

    let run = folder.path("run")
    try Program.succeed([
      "eval", Embedded.model, "--data", Embedded.data, "-n", "24", "-q", "--max-new-tokens", "6", "--adapter",
      folder.path("adapter"), "--conditions", conditions.map(\.name).joined(separator: ","), "-o", run,
    ])
    let records = try JSONLinesReader(URL(fileURLWithPath: run + "/samples.jsonl"), ending: .asWritten)
      .remainingLines().map(\.value)
    XCTAssertEqual(records.count, samples.count)
    for (place, name) in conditions.map(\.name).enumerated() {
      let found = records.map { $0["conditions"]?[name]?["generated"]?.stringValue }
      XCTAssertEqual(found, expected[place], name)
    }
    // The figures are those of the answers.
    let result = try JSONValue(parsing: Data(contentsOf: URL(fileURLWithPath: run + "/result.json")))
    for (place, (name, _)) in conditions.enumerated() {
      let right = zip(expected[place], samples).count { $0 == $1.answer }
      let condition = try XCTUnwrap(result["conditions"]?.arrayValue?[place])
      XCTAssertEqual(condition["name"]?.stringValue, name)
      XCTAssertEqual(
        condition["accuracy"]?.doubleValue ?? -1, Double(right) / 24, accuracy: 1e-12, name)
    }
  }

  func testConditionsOfAdaptersNeedOne() throws {
    let outcome = try Program.run([
      "eval", Embedded.model, "--data", Embedded.data, "-n", "2", "--conditions", "full,adapter-text",
    ])
    XCTAssertEqual(outcome.status, 64, outcome.errors)
    XCTAssertTrue(outcome.errors.contains("has no adapter"), outcome.errors)
  }

  /// What an adapter is worth is measured with it, and its files stand in the run.
  func testContributionsAreThoseOfTheAdaptedModel() throws {
    let folder = try TemporaryFolder()
    let checkpoint = try Checkpoint(folder: URL(fileURLWithPath: Embedded.model))
    let (plan, tensors) = try adapter(checkpoint)
    try plan.write(tensors, to: folder.url("adapter"))
    let merged = folder.path("merged")
    try Program.succeed([
      "adapter", "merge", folder.path("adapter"), "--model", Embedded.model, "-o", merged,
    ])
    for method in ["shapley", "grad-input", "knockout"] {
      func shares(_ words: [String]) throws -> (text: String, values: [Double]) {
        let output = try Program.succeed(
          ["contribution"] + words + ["--data", Embedded.data, "-n", "3", "--method", method, "--json"]
        ).output
        let json = try JSONValue(parsing: [UInt8](output.utf8))
        var values: [Double] = []
        func collect(_ value: JSONValue) {
          if let number = value.doubleValue { values.append(number) }
          for element in value.arrayValue ?? [] { collect(element) }
          for (_, element) in value.objectValue?.members ?? [] { collect(element) }
        }
        collect(json["contribution"]?["groups"] ?? .null)
        return (output, values)
      }
      let adapted = try shares([Embedded.model, "--adapter", folder.path("adapter")])
      XCTAssertTrue(adapted.text.contains("adapter/adapter_model.safetensors"))
      let plain = try shares([Embedded.model]).values
      let whole = try shares([merged]).values
      XCTAssertGreaterThan(adapted.values.count, 5)
      func distance(_ other: [Double]) -> Double {
        zip(adapted.values, other).reduce(0) { $0 + abs($1.0 - $1.1) }
      }
      XCTAssertEqual(adapted.values.count, whole.count)
      XCTAssertEqual(adapted.values.count, plain.count)
      // Merged weights are rounded to bfloat16.
      XCTAssertLessThan(distance(whole), 0.1 * distance(plain), method)
    }
  }
}
