import Foundation
import TensorCore
import XCTest

@testable import ClassicBench

/// Methods that change what is minimised.
final class GoldenObjectiveTests: XCTestCase {
  func testMMCosine() throws {
    for count in 2...3 {
      let run = try GoldenRun("mmcosine_m\(count)", MMCosine(scale: 10))
      try run.twoSteps()
      run.oracle.finish()
    }
  }

  func testUMT() throws {
    for count in 2...3 {
      let oracle = try ClassicOracle("umt_m\(count)")
      var teachers: [String: Tensor] = [:]
      for name in oracle.names("teacher.") {
        teachers[String(name.dropFirst("teacher.".count))] = try oracle.tensor(name)
      }
      let run = try GoldenRun("umt_m\(count)", UMT(weight: 0.5, teachers: teachers))
      for name in oracle.names("teacher.") { _ = try run.oracle.values(name) }
      try run.twoSteps(
        each: { k, _, _, result in
          for (index, name) in run.oracle.modalities.enumerated() {
            let distance = try XCTUnwrap(result.losses.first { $0.name == "distill_\(name)" }).value
            try run.oracle.compare(
              [distance / Double(run.model.featureSizes[index])], "step\(k).alt.mse_\(name)")
          }
        })
      run.oracle.finish()
    }
  }

  func testMBSD() throws {
    for count in 2...3 {
      for (name, representation) in [("mbsd", MBSD.Representation.features), ("mbsd_logits", .logits)] {
        var options = MBSD.Options()
        options.representation = representation
        let run = try GoldenRun("\(name)_m\(count)", MBSD(options))
        try run.twoSteps()
        run.oracle.finish()
      }
    }
  }

  func testCML() throws {
    for count in 2...3 {
      let run = try GoldenRun("cml_m\(count)", CML())
      var options = CML.Options()
      options.boundsBatchMean = true
      let compat = CML(options)
      func random(_ k: Int) throws -> GivenRandom {
        var random = GivenRandom()
        let removed = try run.oracle.integers("order.step\(k)")
        random.orders["cml order"] = removed + (0..<count).filter { !removed.contains($0) }
        return random
      }
      try run.twoSteps(
        random: random,
        before: { k, batch, place, random in
          let bounded = run.compute(batch, at: place, random: random, method: compat)
          try run.oracle.compare([bounded.losses[1].value], "step\(k).alt.hinge_batch_clamp")
          let forward = bounded.forward
          let features = forward.allFeatures.map(\.detached)
          let parameters = forward.parameters.detached
          let full = forward.fused.detached.softmax().rowMaxima()
          let sums = features.indices.map { m -> Double in
            var kept = features
            kept[m] = Tensor(zeros: kept[m].shape)
            let part = run.model.head.fused(kept, run.model.names, parameters).softmax().rowMaxima()
            return (part - full).relu().mean().doubles[0]
          }
          try run.oracle.compare([sums.reduce(0, +)], "step\(k).alt.hinge_leave_one_out")
        })
      run.oracle.finish()
    }
  }

  func testMMPareto() throws {
    for count in 2...3 {
      for name in ["agree", "conflict"] {
        let run = try GoldenRun("mmpareto_\(name)_m\(count)", MMPareto())
        var options = MMPareto.Options()
        options.rescaling = .perTensor
        let perTensor = MMPareto(options)
        try run.twoSteps(
          before: { k, batch, place, random in
            let other = run.compute(batch, at: place, random: random, method: perTensor)
            let prefix = "step\(k).alt.tensor_rescale."
            for name in run.oracle.names(prefix) {
              try run.oracle.compare(other.gradients[String(name.dropFirst(prefix.count))], name)
            }
          })
        run.oracle.finish()
      }
    }
  }

  func testGBlending() throws {
    for count in 2...3 {
      let oracle = try ClassicOracle("gblending_m\(count)")
      let columns = try ["train0", "valid0", "train1", "valid1"].map { try oracle.values("table.\($0)") }
      let raw = columns[0].indices.map { index in
        GBlending.rawWeight(
          SoloLosses(
            trainBefore: columns[0][index], heldOutBefore: columns[1][index], trainAfter: columns[2][index],
            heldOutAfter: columns[3][index]))
      }
      let rows = stride(from: 0, to: raw.count, by: count + 1).map { Array(raw[$0..<$0 + count + 1]) }
      let weights = rows.map(GBlending.normalized)
      let run = try GoldenRun("gblending_m\(count)", GBlending(weights: weights[0]))
      for name in ["train0", "valid0", "train1", "valid1"] { _ = try run.oracle.values("table.\(name)") }
      try run.oracle.compare(raw, "table.raw")
      try run.oracle.compare(weights.flatMap { $0 }, "table.weight")
      try run.twoSteps()
      run.oracle.finish()
    }
  }

  func testLFM() throws {
    for count in 2...3 {
      for (name, matching) in [("js", LFM.Matching.jensenShannon), ("nce", .contrastive)] {
        var options = LFM.Options()
        options.matching = matching
        let method = LFM(options)
        let run = try GoldenRun("lfm_\(name)_m\(count)", method)
        try run.oracle.compare((1...10).map(LFM.heuristicWeight), "schedule.alpha")
        let epochs = try run.oracle.integers("polynomial.epoch")
        try run.oracle.compare(epochs.map { LFM.polynomialWeight(epoch: $0) }, "polynomial.cls")
        let derivative = method.weightDerivative(
          run.model, run.parameters.named, training: try run.batch(0), validation: try run.batch(1),
          weight: LFM.heuristicWeight(1), innerRate: 0.05)
        try run.oracle.compare([derivative.derivative], "alpha_grad")
        try run.oracle.compare([derivative.products.0, derivative.products.1], "alpha_grad_parts")
        options.matching = .compat
        let compat = LFM(options)
        try run.twoSteps(
          epochs: [0, 4],
          before: { k, batch, place, random in
            guard run.oracle.has("step\(k).alt.match_repo") else { return }
            let other = run.compute(batch, at: place, random: random, method: compat)
            try run.oracle.compare([other.losses[0].value], "step\(k).alt.match_repo")
          })
        run.oracle.finish()
      }
    }
  }

  func testUDI() throws {
    for count in 2...3 {
      for (name, term) in [("club", UDI.Complementarity.vCLUB), ("xcorr", .correlation)] {
        let oracle = try ClassicOracle("udi_\(name)_m\(count)")
        let anchor = UDI.chooseAnchor(
          accuracies: try oracle.values("anchor.accuracy"), entropies: try oracle.values("anchor.entropy"))
        var options = UDI.Options()
        options.complementarity = term
        let run = try GoldenRun(
          "udi_\(name)_m\(count)", UDI(options, anchor: anchor),
          missing: { shape in
            guard shape.name.hasPrefix("q.") else { return nil }
            return (try? oracle.tensor(shape.name)) ?? Tensor(zeros: shape.shape)
          })
        for key in ["anchor.accuracy", "anchor.entropy"] { _ = try run.oracle.values(key) }
        for key in oracle.names("q.") { _ = try run.oracle.values(key) }
        try run.oracle.compare([Double(anchor)], "anchor.index")
        for k in 0..<2 {
          let result = try run.step(
            k, run.batch(k), at: StepPlace(step: k, batch: k, batchesPerEpoch: 2),
            moving: { !$0.hasPrefix("q.") },
            special: { $0.hasPrefix("q_grad.") || $0.hasPrefix("loss.total_") })
          for key in run.oracle.names("step\(k).q_grad.") {
            try run.oracle.compare(result.rawGradients["q." + key.dropFirst("step\(k).q_grad.".count)], key)
          }
          for key in run.oracle.names("step\(k).loss.total_") {
            let follower = key.dropFirst("step\(k).loss.total_".count)
            let terms = ["ce_", "con_", "cmp_"].compactMap { part in
              result.losses.first { $0.name == part + follower }
            }
            XCTAssertEqual(terms.count, 3)
            try run.oracle.compare([terms.reduce(0) { $0 + $1.value * $1.weight }], key)
          }
        }
        let batch = try run.batch(1)
        let parameters = Parameters(run.parameters.named)
        let features = batch.inputs.indices.map { run.model.features($0, of: batch.inputs[$0], parameters) }
        let mean = run.method.evaluationLogits(
          run.model, features, present: features.map { _ in true }, parameters)
        try run.oracle.compare(mean, "eval.probabilities")
        run.oracle.finish()
      }
    }
  }
}
