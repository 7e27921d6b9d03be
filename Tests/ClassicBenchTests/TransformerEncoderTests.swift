import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import ClassicBench

/// The transformer encoders beside `torch.nn.TransformerEncoder`, by central differences, and without what is padded.
final class TransformerEncoderTests: XCTestCase {
  /// FNV-1a of a name, as in make_encoders.py.
  private func seed(_ name: String) -> UInt64 {
    name.utf8.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
  }

  /// The values that the oracle draws for a parameter.
  private func drawn(_ name: String, _ shape: [Int]) -> Tensor {
    if shape.count > 1 {
      let inputs = Double(shape.dropFirst().reduce(1, *))
      return randomTensor(shape, seed: seed(name), scale: Float((3 / inputs).squareRoot()))
    }
    if name.hasSuffix("bias") { return randomTensor(shape, seed: seed(name), scale: 0.1) }
    return randomTensor(shape, seed: seed(name), scale: 0.25) + 1
  }

  private func lists(_ value: JSONValue?) throws -> [[Int]] {
    try XCTUnwrap(value?.arrayValue).map { try XCTUnwrap($0.arrayValue).compactMap(\.intValue) }
  }

  /// Sequences with steps of zeros before and after the others.
  private func padded(_ values: Tensor, _ padding: [[Int]]) -> Tensor {
    let (steps, size) = (values.shape[1], values.shape[2])
    let elements = values.hostValues().enumerated().map { index, value -> Float in
      let (sample, step) = (index / (steps * size), index / size % steps)
      return padding[sample][0]..<steps - padding[sample][1] ~= step ? value : 0
    }
    return Tensor(elements, shape: values.shape)
  }

  func testEncodersAreThoseOfPyTorch() throws {
    let oracle = try OracleCase("encoders/transformer")
    func size(_ key: String) throws -> Int { try XCTUnwrap(oracle.description[key]?.intValue) }
    var worst = 0.0
    for (name, entry) in try XCTUnwrap(oracle.description["cases"]?.objectValue).members {
      var options = TransformerEncoder.Options()
      (options.layers, options.width) = (try size("layers"), try size("width"))
      (options.heads, options.inner) = (try size("heads"), try size("inner"))
      options.dropout = 0
      options.leavesOutPadding = name != "plain"
      options.positions = try XCTUnwrap(.init(rawValue: entry["positions"]?.stringValue ?? ""))
      options.pooling = try XCTUnwrap(.init(rawValue: entry["pooling"]?.stringValue ?? ""))
      let steps = try XCTUnwrap(entry["steps"]?.intValue)
      let encoder: TransformerEncoder
      let input: Tensor
      if let vocabulary = entry["vocabulary"]?.intValue {
        let ids = try lists(entry["ids"])
        encoder = TransformerEncoder(
          inputShape: [steps], reading: .tokens(vocabulary: vocabulary), options)
        input = Tensor(ids.flatMap { $0.map { Float($0) } }, shape: [ids.count, steps])
      } else {
        let padding = try lists(entry["padding"])
        let width = try XCTUnwrap(entry["size"]?.intValue)
        encoder = TransformerEncoder(inputShape: [steps, width], reading: .rows, options)
        input = padded(randomTensor([padding.count, steps, width], seed: seed(name)), padding)
      }
      let tape = Tape()
      let leaves = encoder.parameters.map { ($0.name, tape.leaf(drawn($0.name, $0.shape))) }
      let named = Dictionary(uniqueKeysWithValues: leaves.map { ("e." + $0.0, $0.1) })
      let output = encoder.features(of: input, EncoderPass(Parameters(named), under: "e."))
      try oracle.compare(output.hostValues(), with: name + ".output", absolute: 1e-5)
      let gradients = tape.gradients(
        of: output, for: leaves.map(\.1), seed: randomTensor(output.shape, seed: 7))
      for ((parameter, leaf), gradient) in zip(leaves, gradients) {
        let values = (gradient ?? Tensor(zeros: leaf.shape)).hostValues()
        let key = "\(name).gradient.\(parameter)"
        let largest = try oracle.stored(key).doubles().map(abs).max() ?? 0
        // That of the bias of keys is 0 but for rounding; it is compared inside a vector with others.
        try oracle.compare(values, with: key, absolute: 1e-3 * max(largest, 1e-3))
        let expected = try oracle.stored(key).doubles()
        for (value, wanted) in zip(values, expected) {
          worst = max(worst, abs(Double(value) - wanted) / max(largest, 1e-3))
        }
      }
    }
    oracle.finish()
    print("  transformer: largest relative difference of gradients \(worst)")
  }

  private func small(_ change: (inout TransformerEncoder.Options) -> Void = { _ in })
    -> TransformerEncoder.Options
  {
    var options = TransformerEncoder.Options.corrected
    (options.layers, options.width, options.heads, options.inner) = (1, 4, 2, 6)
    change(&options)
    return options
  }

  private func values(_ encoder: TransformerEncoder) -> [String: Tensor] {
    Dictionary(uniqueKeysWithValues: encoder.parameters.map { ("e." + $0.name, drawn($0.name, $0.shape)) })
  }

  private func features(
    _ encoder: TransformerEncoder, _ input: Tensor, _ training: EncoderTraining? = nil
  ) -> Tensor {
    encoder.features(
      of: input, EncoderPass(Parameters(values(encoder), training: training), under: "e."))
  }

  /// In training, with the same draws of dropout for every value.
  func testGradientsAreThoseOfCentralDifferences() throws {
    let encoder = TransformerEncoder(
      inputShape: [3, 2], reading: .rows,
      small {
        $0.positions = .learned
        $0.dropout = 0.3
      })
    let input = padded(randomTensor([3, 3, 2], seed: 5), [[0, 0], [0, 1], [2, 0]])
    let start = values(encoder)
    let weights = randomTensor([3, 4], seed: 6)
    func loss(_ parameters: [String: Tensor]) -> Tensor {
      let training = EncoderTraining(KeyedRandom(seed: 1, place: StepPlace(step: 4)))
      let pass = EncoderPass(Parameters(parameters, training: training), under: "e.")
      return (encoder.features(of: input, pass) * weights).total()
    }
    let tape = Tape()
    let names = start.keys.sorted()
    let leaves = Dictionary(
      uniqueKeysWithValues: names.map { ($0, tape.leaf(start[$0] ?? Tensor(zeros: []))) })
    let found = tape.gradients(of: loss(leaves), for: names.compactMap { leaves[$0] })
    let step: Float = 1.0 / 256
    for (name, gradient) in zip(names, found) {
      let tensor = try XCTUnwrap(start[name])
      let numeric = tensor.hostValues().indices.map { index -> Double in
        func value(_ shift: Float) -> Double {
          var elements = tensor.hostValues()
          elements[index] += shift
          var moved = start
          moved[name] = Tensor(elements, shape: tensor.shape)
          return loss(moved).doubleValues[0]
        }
        return (value(step) - value(-step)) / (2 * Double(step))
      }
      let scale = max(0.05, numeric.map(abs).max() ?? 0)
      // Rounding of Float32 over a step of 1/128, and the third derivative.
      assertClose(
        gradient ?? Tensor(zeros: tensor.shape), numeric, shape: tensor.shape, absolute: 1e-2 * scale, name)
    }
    XCTAssertNotEqual(
      features(encoder, input, EncoderTraining(KeyedRandom(seed: 1, place: StepPlace(step: 4)))),
      features(encoder, input), "nothing was dropped out")
  }

  func testPaddingHasNoInfluence() throws {
    let sequences = randomTensor([4, 3, 2], seed: 8)
    let plain = TransformerEncoder(inputShape: [3, 2], reading: .rows, small())
    let long = TransformerEncoder(inputShape: [7, 2], reading: .rows, small())
    let rows: [[Float]] = sequences.hostRows()
    for before in 0...4 {
      var values: [Float] = []
      for sample in 0..<4 {
        values += [Float](repeating: 0, count: 2 * before)
        for row in rows[3 * sample..<3 * sample + 3] { values += row }
        values += [Float](repeating: 0, count: 2 * (4 - before))
      }
      assertSameBits(
        features(long, Tensor(values, shape: [4, 7, 2])), features(plain, sequences), "\(before) steps before"
      )
    }
    // The benchmark's sees padding, and takes the last step whatever it is.
    let seeing = small {
      $0.leavesOutPadding = false
      $0.positions = .none
      $0.pooling = .last
    }
    let short = TransformerEncoder(inputShape: [3, 2], reading: .rows, seeing)
    let wide = TransformerEncoder(inputShape: [4, 2], reading: .rows, seeing)
    var more: [Float] = []
    for (index, row) in rows.enumerated() {
      more += row
      if index % 3 == 2 { more += [0, 0] }
    }
    XCTAssertNotEqual(
      features(wide, Tensor(more, shape: [4, 4, 2])).hostValues(), features(short, sequences).hostValues())
    // Texts.
    let tokens = TransformerEncoder(inputShape: [2], reading: .tokens(vocabulary: 5), small())
    let padding = TransformerEncoder(inputShape: [5], reading: .tokens(vocabulary: 5), small())
    assertSameBits(
      features(padding, Tensor([3, 1, 0, 0, 0, 5, 0, 0, 0, 0], shape: [2, 5])),
      features(tokens, Tensor([3, 1, 5, 0], shape: [2, 2])))
  }

  func testColumnsOfASpectrogramAreSteps() throws {
    let options = small()
    let columns = TransformerEncoder(inputShape: [2, 3, 1], reading: .columns, options)
    let rows = TransformerEncoder(inputShape: [3, 2, 1], reading: .rows, options)
    let turned = Tensor([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], shape: [2, 2, 3, 1])
    let straight = Tensor([1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12], shape: [2, 3, 2, 1])
    assertSameBits(features(columns, turned), features(rows, straight))
  }
}
