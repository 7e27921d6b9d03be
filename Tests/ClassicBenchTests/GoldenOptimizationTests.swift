import Foundation
import TensorCore
import XCTest

@testable import ClassicBench

/// Methods that change gradients, weights or the order of updates, and the one that changes data.
final class GoldenOptimizationTests: XCTestCase {
  private func figures(_ name: String, _ result: StepResult) throws -> [Double] {
    try XCTUnwrap(result.context.figures.first { $0.name == name }?.values)
  }

  private func compareOGM(_ name: String, _ method: OGM) throws {
    for count in 2...3 {
      let run = try GoldenRun("\(name)_m\(count)", method)
      func random(_ k: Int) throws -> GivenRandom {
        var random = GivenRandom()
        let prefix = "random.step\(k).normal."
        for name in run.oracle.names(prefix) {
          random.normal["normal." + name.dropFirst(prefix.count)] = try run.oracle.tensor(name).hostValues()
        }
        return random
      }
      try run.twoSteps(
        random: random,
        each: { k, _, _, result in
          let scores = try self.figures("score", result)
          let additive = scores.indices.map { m in
            let others = scores.indices.filter { $0 != m }
            return others.reduce(0.0) { $0 + scores[m] / (scores[$1] + 1e-5) } / Double(others.count)
          }
          try run.oracle.compare(
            additive.map { OGM.factor($0, alpha: 0.3, .cvpr) }, "step\(k).alt.k_additive_eps")
          try run.oracle.compare(
            self.figures("rho", result).map { OGM.factor($0, alpha: 0.3, .tpami) }, "step\(k).alt.k_tpami")
        })
      run.oracle.finish()
    }
  }

  func testOGM() throws { try compareOGM("ogm", OGM()) }
  func testOGMGE() throws { try compareOGM("ogm_ge", OGMGE()) }

  func testMLB() throws {
    for count in 2...3 {
      let run = try GoldenRun("mlb_m\(count)", MLB())
      var options = MLB.Options()
      options.largestFactor = 3
      let other = options
      try run.twoSteps(
        each: { k, _, _, result in
          let factors = try self.figures("r", result).map { MLB.factor($0, other) }
          try run.oracle.compare(factors, "step\(k).alt.k_beta")
        })
      run.oracle.finish()
    }
  }

  func testAGM() throws {
    for count in 2...3 {
      let method = AGM()
      let run = try GoldenRun("agm_m\(count)", method)
      for k in 0..<2 {
        let (batch, place) = (try run.batch(k), StepPlace(step: k, batch: k, batchesPerEpoch: 2))
        let joint = run.compute(batch, at: place, method: Joint())
        try compareSubsets(run, k, batch)
        let result = run.compute(batch, at: place)
        let kappa = try figures("kappa", result)
        for name in run.oracle.names("step\(k).") {
          let key = String(name.dropFirst("step\(k).".count))
          let parts = key.split(separator: ".", maxSplits: 1).map(String.init)
          switch parts[0] {
          case "f": continue
          case "grad": try run.oracle.compare(joint.gradients[parts[1]], name)
          case "edited": try run.oracle.compare(result.gradients[parts[1]], name)
          case "phi": try run.oracle.compare(result.context.tensors[key], name)
          case "loss": try run.oracle.compare([result.total], name)
          case "alt":
            let parameter = String(parts[1].dropFirst("feature_scaling.".count))
            let index = try XCTUnwrap(run.model.encoderIndex(of: parameter))
            let scaled = joint.gradients[parameter].map { Float(kappa[index]) * $0 }
            try run.oracle.compare(scaled, name)
          default: try run.oracle.compare(figures(key, result), name)
          }
        }
        try run.move(result, to: k + 1)
      }
      try run.oracle.compare(method.running, "running_after")
      run.oracle.finish()
    }
  }

  /// Logits with inputs outside a subset replaced by zeros.
  private func compareSubsets(_ run: GoldenRun, _ k: Int, _ batch: ClassicBatch) throws {
    let parameters = Parameters(run.parameters.named)
    let features = batch.inputs.indices.map { run.model.features($0, of: batch.inputs[$0], parameters) }
    let subsets = SubsetScores(run.model, features, batch.labels, parameters, mask: .zeroInput) {
      m, f, _, p in
      m.head.fused(f, m.names, p)
    }
    for (set, logits) in subsets.logits.enumerated() {
      let members = run.oracle.modalities.indices.filter { set & 1 << $0 != 0 }
      let name = members.isEmpty ? "empty" : members.map { run.oracle.modalities[$0] }.joined(separator: "+")
      if run.oracle.has("step\(k).f.\(name)") { try run.oracle.compare(logits, "step\(k).f.\(name)") }
    }
  }

  func testPMR() throws {
    for count in 2...3 {
      let method = PMR()
      let run = try GoldenRun("pmr_m\(count)", method)
      try run.twoSteps(
        epochs: [0, 1],
        each: { k, _, _, result in
          let scores = try self.figures("score", result)
          let best = scores.max() ?? 0
          let ratios = scores.indices.map { m -> Double in
            let others = (scores.reduce(0, +) - scores[m]) / Double(scores.count - 1)
            return min(1, max(0, others / scores[m] - 1))
          }
          try run.oracle.compare(ratios, "step\(k).alt.a_mean_ratio")
          if run.oracle.has("step\(k).alt.binary") {
            var options = PMR.Options()
            options.compat = true
            XCTAssertEqual(PMR(options).coefficients(scores), scores.map { $0 < best ? 1 : 0 })
            try run.oracle.compare(PMR(options).coefficients(scores), "step\(k).alt.binary")
          }
        },
        before: { k, _, _, _ in
          let labels = try run.oracle.integers("subset\(k).y")
          let parameters = Parameters(run.parameters.named)
          let features = try run.oracle.modalities.enumerated().map { index, name in
            run.model.features(index, of: try run.oracle.tensor("subset\(k).x.\(name)"), parameters)
          }
          method.update(features, labels, isFirst: k == 0)
          for (name, prototypes) in zip(run.oracle.modalities, method.prototypes) {
            try run.oracle.compare(prototypes, "prototype\(k).\(name)")
          }
        })
      run.oracle.finish()
    }
  }

  func testInfoReg() throws {
    for count in 2...3 {
      let method = InfoReg()
      let run = try GoldenRun("inforeg_m\(count)", method)
      for epoch in 0..<4 {
        for (name, value) in method.state.dropFirst() {
          let stored = "snapshot\(epoch)." + name.dropFirst("snapshot.".count)
          if run.oracle.has(stored) { try run.oracle.compare(value, stored) }
        }
        if run.oracle.has("epoch\(epoch).window") {
          try run.oracle.compare(method.isOpen.map { $0 ? 1 : 0 }, "epoch\(epoch).window")
        }
        for batch in 0..<2 {
          let k = 2 * epoch + batch
          try run.step(
            k, run.batch(batch), at: StepPlace(epoch: epoch, step: k, batch: batch, batchesPerEpoch: 2))
        }
        method.finishEpoch(run.model, run.parameters)
        try run.oracle.compare(XCTUnwrap(method.traces.last), "epoch\(epoch).trace")
      }
      run.oracle.finish()
    }
  }

  func testReconBoost() throws {
    for count in 2...3 {
      let method = ReconBoost()
      let run = try GoldenRun("reconboost_m\(count)", method)
      let active = try XCTUnwrap(
        run.oracle.description["hyperparameters"]?["active"]?.stringValue.flatMap {
          run.oracle.modalities.firstIndex(of: $0)
        })
      let first = StepPlace(epoch: active * 8)
      var options = ReconBoost.Options()
      options.compat = true
      let compat = run.compute(try run.batch(0), at: first, method: ReconBoost(options))
      let prefix = "step0.alt.grad_boost_only."
      for name in run.oracle.names(prefix) {
        try run.oracle.compare(compat.gradients[String(name.dropFirst(prefix.count))], name)
      }
      XCTAssertTrue(method.subStep(run.model, at: first).restartsOptimizer)
      try run.step(0, run.batch(0), at: first)
      run.restartOptimizer()
      let second = StepPlace(epoch: active * 8 + 4)
      XCTAssertTrue(method.subStep(run.model, at: second).restartsOptimizer)
      try run.step(1, run.batch(1), at: second)
      run.oracle.finish()
    }
  }

  func testRelearning() throws {
    for count in 2...3 {
      let method = Relearning()
      let run = try GoldenRun(
        "relearning_m\(count)", method, prefix: "init.", missing: { Tensor(zeros: $0.shape) })
      // The start is remembered by now; the weights before the event come in.
      run.parameters.assign(try run.parameters.names.map { try run.oracle.tensor("before.\($0)") })
      var features: [String: [Tensor]] = [:]
      for part in ["train", "held"] {
        features[part] = try run.oracle.modalities.map { try run.oracle.tensor("\(part).feature.\($0)") }
        for (m, name) in run.oracle.modalities.enumerated() {
          let rows = Relearning.scaled(features[part]![m])
          try run.oracle.compare(rows.flatMap { $0 }, "\(part).scaled.\(name)")
          let start = try run.oracle.tensor("\(part).centroids0.\(name)").hostRows().map {
            $0.map(Double.init)
          }
          try run.oracle.compare(
            KMeans.clusters(of: rows, start: start).map(Double.init), "\(part).cluster.\(name)")
        }
      }
      let oracle = run.oracle
      let weights = method.diagnose(
        train: features["train"]!, trainLabels: try oracle.integers("train.y"), held: features["held"]!,
        heldLabels: try oracle.integers("held.y"), classes: run.model.classCount
      ) { _, part in
        let parts = part.split(separator: " ").map(String.init)
        let name = oracle.modalities[Int(parts[1]) ?? 0]
        let rows = (try? oracle.tensor("\(parts[0]).centroids0.\(name)").hostRows()) ?? []
        return rows.map { $0.map(Double.init) }
      }
      let latest = try XCTUnwrap(method.latest)
      try oracle.compare(latest.purity.flatMap { $0 }, "purity")
      try oracle.compare(latest.gaps, "gap")
      try oracle.compare(weights, "weight")
      method.reinitialize(run.parameters, run.model, weights)
      for (name, value) in zip(run.parameters.names, run.parameters.values) {
        if oracle.has("after.\(name)") {
          try oracle.compare(value, "after.\(name)")
        } else {
          XCTAssertEqual(value.doubles, try oracle.tensor("before.\(name)").doubles, name)
        }
      }
      oracle.finish()
    }
  }

  func testModalityValuation() throws {
    for count in 2...3 {
      let method = ModalityValuation()
      let run = try GoldenRun("valuation_m\(count)", method)
      let oracle = run.oracle
      let bits = try oracle.integers("correct")
      let sets = 1 << count
      let values = stride(from: 0, to: bits.count, by: sets).map { start in
        ModalityValuation.values(correct: bits[start..<start + sets].map { $0 == 1 }, count: count)
      }
      let common = ModalityValuation.denominator(count)
      try oracle.compare([Double(common)], "values.lcm")
      try oracle.compare(values.flatMap { $0.map(Double.init) }, "values.times_lcm")
      try oracle.compare(values.flatMap { $0.map { Double($0) / Double(common) } }, "values.phi")
      let copies = values.map { $0.map { ModalityValuation.copies($0, denominator: common) } }
      try oracle.compare(copies.flatMap { $0.map(Double.init) }, "copies")
      // ⌊2 (1 − φ) + ½⌋ below the fair share, in whole numbers.
      let rounded = values.flatMap {
        $0.map { $0 < common ? (4 * (common - $0) + common) / (2 * common) : 0 }
      }
      try oracle.compare(rounded.map(Double.init), "alt.copies_rounded")
      let items = ModalityValuation.sampleItems(values, count: count)
      try oracle.compare(
        items.flatMap { [Double($0.sample), Double($0.keep.firstIndex(of: true) ?? -1)] },
        "items.sample_level")
      try compareModalityLevel(oracle, method, values, count)
      var batch = try run.batch(0)
      let keep = try oracle.integers("masked.keep")
      batch.keep = batch.labels.indices.map { i in (0..<count).map { keep[i * count + $0] == 1 } }
      try run.step(0, batch, at: StepPlace())
      oracle.finish()
    }
  }

  private func compareModalityLevel(
    _ oracle: ClassicOracle, _ method: ModalityValuation, _ values: [[Int]], _ count: Int
  ) throws {
    let subset = try oracle.integers("modality_level.subset")
    let gaps = ModalityValuation.gaps(subset.map { values[$0] })
    try oracle.compare(gaps, "modality_level.gap")
    try oracle.compare(gaps.map { 1 - $0 }, "modality_level.phibar")
    for fraction in ModalityValuation.Fraction.allCases {
      let name = "modality_level.rho_\(fraction.rawValue)"
      guard oracle.has(name) else { continue }
      var options = ModalityValuation.Options()
      options.fraction = fraction
      let shares = ModalityValuation(options).fractions(gaps)
      // With two modalities the case has the one that is not 0.
      try oracle.compare(count == 2 ? [shares.max() ?? 0] : shares, name)
    }
    let counts = method.fractions(gaps).map { Int($0 * Double(values.count)) }
    try oracle.compare(
      count == 2 ? [Double(counts.max() ?? 0)] : counts.map(Double.init), "modality_level.count")
    var items: [Double] = []
    for m in 0..<count where counts[m] > 0 {
      let name = "modality_level.draws" + (count == 2 ? "" : "_\(oracle.modalities[m])")
      let draws = try oracle.integers(name)
      XCTAssertEqual(draws.count, counts[m])
      items += draws.flatMap { [Double($0), Double(m)] }
    }
    try oracle.compare(items, "items.modality_level")
  }
}
