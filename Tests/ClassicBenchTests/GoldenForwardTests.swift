import TensorCore
import XCTest

@testable import ClassicBench

/// Methods that change features or the fusion.
final class GoldenForwardTests: XCTestCase {
  func testOPM() throws {
    for count in 2...3 {
      var options = OPM.Options()
      options.warmupEpochs = 0
      let run = try GoldenRun("opm_m\(count)", OPM(options))
      let executes = try run.oracle.integers("random.execute")
      func random(_ k: Int) throws -> GivenRandom {
        var random = GivenRandom()
        random.uniform["opm execute"] = [executes[k] == 1 ? 0 : 0.99]
        if executes[k] == 1 {
          random.uniform["opm drop"] = try run.oracle.tensor("random.step\(k).uniform").hostValues()
        }
        return random
      }
      options.rescales = false
      let plain = OPM(options)
      try run.twoSteps(
        random: random,
        each: { k, _, _, result in
          if executes[k] == 1 {
            try run.oracle.compare(result.context.tensors["keep"], "random.step\(k).keep")
          }
          let scores = try XCTUnwrap(result.context.figures.first { $0.name == "score" }?.values)
          let others = scores.indices.map { m in
            (scores.reduce(0, +) - scores[m]) / Double(scores.count - 1)
          }
          if run.oracle.has("step\(k).alt.rho_mean_denominator") {
            try run.oracle.compare(zip(scores, others).map { $0 / $1 }, "step\(k).alt.rho_mean_denominator")
          }
        },
        before: { k, batch, place, random in
          if run.oracle.has("step\(k).alt.loss_no_rescale") {
            let other = run.compute(batch, at: place, random: random, method: plain)
            try run.oracle.compare([other.total], "step\(k).alt.loss_no_rescale")
          }
        })
      run.oracle.finish()
    }
  }

  func testRollingQ() throws {
    for count in 2...3 {
      let method = RollingQ()
      let run = try GoldenRun("rollingq_m\(count)", method)
      // The same number added to all keys changes no softmax: this gradient is 0 but for rounding, and has no scale.
      let bias = "grad.head.layers.0.key.bias"
      func compareBias(_ k: Int, _ result: StepResult) throws {
        let found = try XCTUnwrap(result.rawGradients["head.layers.0.key.bias"]?.detached.doubles)
        let expected = try run.oracle.values("step\(k).\(bias)")
        XCTAssertEqual(found.count, expected.count)
        for (own, other) in zip(found, expected) { XCTAssertEqual(own, other, accuracy: 1e-6) }
      }
      try run.twoSteps(special: { $0 == bias }, each: { k, _, _, result in try compareBias(k, result) })
      try method.epochEnd(0, ToyServices(ToyModel(Joint(), strengths: [1, 1]), ToyModel.batch()))
      let rotation = try XCTUnwrap(method.rolling?[0]?.rotation(head: 0))
      try run.oracle.compare(rotation, "rotation")
      let place = StepPlace(epoch: 1, step: 2, batchesPerEpoch: 2)
      try compareBias(2, run.step(2, run.batch(0), at: place, special: { $0 == bias }))
      run.oracle.finish()
    }
  }

  func testAMCo() throws {
    for count in 2...3 {
      let method = AMCo()
      let run = try GoldenRun("amco_m\(count)", method)
      try run.oracle.compare((0..<20).map(method.rate), "schedule.rate")
      var options = AMCo.Options()
      options.rescales = true
      let rescaled = AMCo(options)
      func random(_ k: Int) throws -> GivenRandom {
        var random = GivenRandom()
        for name in run.oracle.modalities {
          let mask = try run.oracle.tensor("random.step\(k).mask.\(name)").hostRows()
          for (row, values) in mask.enumerated() {
            let zeros = values.indices.filter { values[$0] == 0 }
            random.orders["mask.\(name) \(row)"] = zeros + values.indices.filter { values[$0] != 0 }
          }
        }
        return random
      }
      try run.twoSteps(
        epochs: [3, 7], random: random,
        before: { k, batch, place, random in
          let other = run.compute(batch, at: place, random: random, method: rescaled)
          if run.oracle.has("step\(k).alt.loss_multi_rescaled") {
            try run.oracle.compare([other.losses[0].value], "step\(k).alt.loss_multi_rescaled")
          }
        })
      run.oracle.finish()
    }
  }

  func testMLA() throws {
    for count in 2...3 {
      let method = MLA()
      let run = try GoldenRun("mla_m\(count)", method)
      for k in 0..<2 * count {
        let place = StepPlace(step: k, batch: k / count, batchesPerEpoch: 4, part: k % count)
        try run.oracle.compare([Double(place.part)], "step\(k).modality")
        try run.step(k, run.batch(k / count), at: place, special: { $0 == "modality" })
      }
      let batch = try run.batch(1)
      let parameters = Parameters(run.parameters.named)
      let features = batch.inputs.indices.map { run.model.features($0, of: batch.inputs[$0], parameters) }
      let logits = features.indices.map { method.evaluationUnimodal(run.model, features, $0, parameters) }
      for (name, logits) in zip(run.oracle.modalities, logits) {
        try run.oracle.compare(logits, "eval.u.\(name)")
      }
      let gates = MLA.gates(logits)
      try run.oracle.compare(gates.weights.flatMap { $0 }, "eval.weight")
      try run.oracle.compare(gates.entropies.flatMap { $0 }, "eval.entropy")
      let fused = method.evaluationLogits(
        run.model, features, present: features.map { _ in true }, parameters)
      try run.oracle.compare(fused, "eval.fused")
      run.oracle.finish()
    }
  }

  /// A 1x1 convolution and tanh; one feature vector for each position of the picture.
  struct PointwiseEncoder: Encoder {
    let channels: Int
    let featureSize: Int
    let positions: Int
    var inputShape: [Int] { [positions, channels] }
    var parameters: [ParameterShape] {
      [
        ParameterShape(name: "weight", shape: [featureSize, channels], fanIn: channels),
        ParameterShape(name: "bias", shape: [featureSize], fanIn: channels),
      ]
    }
    func features(of input: Tensor, _ pass: EncoderPass) -> Tensor {
      let rows = input.reshaped(to: [input.shape[0] * positions, channels])
      return LinearWeight(pass["weight"]).forward(rows, bias: pass["bias"]).hyperbolicTangent()
    }
  }

  func testGreedy() throws {
    for count in 2...3 {
      var options = Greedy.Options()
      (options.window, options.regularSteps) = (2, 3)
      let oracle = try ClassicOracle("greedy_m\(count)")
      let encoders = try oracle.modalities.map { name in
        let weight = try oracle.file.tensor("before.branch.\(name).conv.weight").shape
        let input = try oracle.file.tensor("batch0.x.\(name)").shape
        return PointwiseEncoder(channels: weight[1], featureSize: weight[0], positions: input[2] * input[3])
      }
      let run = try GoldenRun(
        "greedy_m\(count)", Greedy(options), encoders: encoders,
        renamed: { name in
          let parts = name.split(separator: ".").map(String.init)
          switch parts[0] {
          case "encoder": return "branch.\(parts[1]).conv.\(parts[2])"
          case "unihead": return "branch.\(parts[1]).classifier.\(parts[2])"
          default: return name
          }
        })
      for k in 0..<6 {
        // Channels come first in the case.
        var batch = try run.batch(k)
        batch.inputs = batch.inputs.map(Self.channelsLast)
        let result = try run.step(
          k, batch, at: StepPlace(step: k, batch: k, batchesPerEpoch: 6),
          special: { key in
            key.hasPrefix("gated.")
          })
        for name in run.oracle.names("step\(k).gated.") {
          let key = String(name.dropFirst("step\(k).".count))
          let shape = try run.oracle.file.tensor(name).shape
          let rows = try XCTUnwrap(result.context.tensors[key]).reshaped(
            to: [shape[0], shape[2] * shape[3], shape[1]])
          let samples = (0..<shape[0]).map { i in
            rows.slice(i..<i + 1).reshaped(to: [shape[2] * shape[3], shape[1]]).transposed()
          }
          try run.oracle.compare(Tensor.concatenated(samples), name)
        }
      }
      run.oracle.finish()
    }
  }

  /// `[samples, channels, rows, columns]` to `[samples, rows · columns, channels]`.
  private static func channelsLast(_ input: Tensor) -> Tensor {
    let (samples, channels, positions) = (input.shape[0], input.shape[1], input.shape[2] * input.shape[3])
    let parts = (0..<samples).map {
      input.slice($0..<$0 + 1).reshaped(to: [channels, positions]).transposed()
    }
    return Tensor.concatenated(parts).reshaped(to: [samples, positions, channels])
  }
}
