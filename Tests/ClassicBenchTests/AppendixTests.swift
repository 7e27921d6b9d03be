import Foundation
import TensorCore
import TestSupport
import XCTest

@testable import ClassicBench

/// Values that were computed by hand from the formulas of the papers on three sets of logits of four samples: the methods
/// themselves run on a model whose features are these logits.
final class AppendixTests: XCTestCase {
  private var oracle: ClassicOracle!

  override func setUpWithError() throws { oracle = try ClassicOracle("appendix_a") }

  private func batch(_ modalities: Int = 2) throws -> ClassicBatch {
    ClassicBatch(
      inputs: try ["a", "v", "t"].prefix(modalities).map { try oracle.tensor("toy.u_\($0)") },
      labels: try oracle.integers("toy.y"))
  }

  private func run(
    _ method: any ImbalanceMethod, modalities: Int = 2, random: any StepRandom = GivenRandom(),
    bias: String? = nil
  ) throws -> StepResult {
    let toy = ToyModel(method, strengths: Array(repeating: 1, count: modalities))
    if let bias { toy.values["head.bias"] = try oracle.tensor(bias) }
    return toy.step(try batch(modalities), random: random)
  }

  func testEveryValue() throws {
    try compareScores()
    try compareModulation()
    try compareObjectives()
    try compareDirections()
    try compareContributions()
    // The schedule of the benchmark's own code for AMCo is not offered: rates go by epochs, see `amco_m2`.
    _ = try oracle.values("amco.repo_schedule")
    oracle.finish()
  }

  private func compareScores() throws {
    let batch = try batch(3)
    let sums = [batch.inputs[0] + batch.inputs[1], batch.inputs[0], batch.inputs[1]]
    try oracle.compare(sums.map { $0.meanCrossEntropy(batch.labels).doubles[0] }, "ce.fused_a_v")
    try oracle.compare(DiscrepancyRatio.scores(batch.inputs, batch.labels), "scores")
  }

  private func compareModulation() throws {
    let two = try run(OGM())
    try oracle.compare(two.figures("rho"), "ogm.rho_floor_eps")
    try oracle.compare(two.figures("k"), "ogm.k_floor_eps")
    // The same with 1e-5 added to what divides.
    func additive(_ scores: [Double]) -> [Double] {
      scores.indices.map { m in
        let others = scores.indices.filter { $0 != m }
        return others.reduce(0.0) { $0 + scores[m] / (scores[$1] + 1e-5) } / Double(others.count)
      }
    }
    func factors(_ ratios: [Double]) -> [Double] { ratios.map { OGM.factor($0, alpha: 0.3, .cvpr) } }
    let ratios = additive(try two.figures("score"))
    try oracle.compare([ratios[0]], "ogm.rho_a_additive_eps")
    try oracle.compare([factors(ratios)[0]], "ogm.k_a_additive_eps")
    let three = additive(try run(OGM(), modalities: 3).figures("score"))
    try oracle.compare(three, "ogm.rho3_additive_eps")
    try oracle.compare(factors(three), "ogm.k3_additive_eps")

    var opm = OPM.Options()
    (opm.baseRate, opm.lambda, opm.executionShare, opm.warmupEpochs) = (0.4, 0.5, 0, 0)
    let dropping = try run(OPM(opm), random: GivenRandom(uniform: ["opm execute": [0.5]]))
    try oracle.compare([dropping.figures("q")[0]], "opm.q_a")
    XCTAssertEqual(try dropping.figures("q")[1], 0)
    try oracle.compare(dropping.figures("theta"), "opm.theta")

    let adaptive = try run(AGM())
    try oracle.compare(adaptive.figures("r"), "agm.r")
    try oracle.compare(adaptive.figures("kappa"), "agm.kappa")
  }

  private func compareObjectives() throws {
    for (removed, order) in [("v", [1, 0]), ("a", [0, 1])] {
      let calibrated = try run(
        CML(), random: GivenRandom(orders: ["cml order": order]), bias: "cml.bias")
      try oracle.compare(calibrated.context.tensors["hinge"], "cml.hinge_remove_\(removed)")
    }
    var distilled = MBSD.Options()
    distilled.representation = .logits
    let result = try run(MBSD(distilled))
    // One of two modalities teaches: its own weight is 0.
    let weights = try XCTUnwrap(result.context.tensors["weight"]).hostRows().map { Double($0.max() ?? 0) }
    try oracle.compare(weights, "mbsd.w")
    try oracle.compare([result.loss("kl")], "mbsd.kl_strong_weak")
    try oracle.compare([result.loss("rs")], "mbsd.rs_logits")
    for (matching, name) in [(LFM.Matching.jensenShannon, "lfm.js"), (.compat, "lfm.reverse")] {
      var options = LFM.Options()
      options.matching = matching
      try oracle.compare([run(LFM(options)).loss("match")], name)
    }
    let cosine = FusionHead.cosine(scale: 15).unimodal(
      0, [try oracle.tensor("mmcosine.h")], ["a"],
      Parameters(["head.weight": try oracle.tensor("mmcosine.W")]))
    try oracle.compare(cosine, "mmcosine.logits_s15")
    let prototypes = Tensor([0, 0, 1, 0, 0, 1], shape: [3, 2])
    let similarity = PMR.negativeDistances(Tensor([0.2, 0.1, 0.9, 0.2], shape: [2, 2]), prototypes)
    try oracle.compare(similarity, "pmr.sim")
    try oracle.compare(similarity.meanCrossEntropy([0, 1]), "pmr.ce")
    var boosting = ReconBoost.Options()
    boosting.initialRate = 0.01
    let toy = ToyModel(ReconBoost(boosting), strengths: [1, 1])
    try oracle.compare([toy.step(batch()).loss("boost")], "reconboost.phase1")
  }

  private func compareDirections() throws {
    let direction = MMPareto.direction(
      [try oracle.tensor("mmpareto.g_multi")], [try oracle.tensor("mmpareto.g_uni")], MMPareto.Options())
    try oracle.compare([direction.weights.0], "mmpareto.alpha")
    try oracle.compare(direction.gradients[0], "mmpareto.final_gamma1.5")
    let raw = [
      SoloLosses(trainBefore: 2, heldOutBefore: 2.2, trainAfter: 1, heldOutAfter: 1.6),
      SoloLosses(trainBefore: 2, heldOutBefore: 2.1, trainAfter: 1.5, heldOutAfter: 1.7),
    ].map { GBlending.rawWeight($0) }
    try oracle.compare(GBlending.normalized(raw), "gblending.normalised")
    try oracle.compare(MLA.gates(batch().inputs).weights.map { $0[0] }, "mla.weight_a")
    // Two clusters, pure in one set and with one wrong sample of five in the other.
    let points = [Tensor([0, 0, 0, 1, 1], shape: [5, 1])]
    let method = Relearning()
    let weights = method.diagnose(
      train: points, trainLabels: [0, 0, 0, 1, 1], held: points, heldLabels: [0, 0, 1, 1, 1], classes: 2
    ) { _, _ in [[-1], [1]] }
    try oracle.compare(weights, "relearning.w")
  }

  private func compareContributions() throws {
    let three = ShapleyContribution.values([0.17, 0.5, 0.3, 0.6, 0.4, 0.65, 0.5, 0.7], count: 3)
    try oracle.compare(three, "shapley.phi3")
    try oracle.compare([ShapleyContribution.imbalance(three)], "shapley.I3")
    try oracle.compare(ShapleyContribution.values([0.17, 0.5, 0.3, 0.6], count: 2), "shapley.phi2")
    let rows = [0, 1].flatMap { a in
      [0, 1].flatMap { v in
        [0, 1].flatMap { both -> [Double] in
          let twice = ModalityValuation.values(correct: [false, a == 1, v == 1, both == 1], count: 2)
          let copies = twice.map { ModalityValuation.copies($0, denominator: 2) }
          return ([a, v, both] + twice + copies).map(Double.init)
        }
      }
    }
    try oracle.compare(rows, "valuation.table")
  }
}
