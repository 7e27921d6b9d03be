import Foundation
import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import Analysis

/// Gradient times input and integrated gradients, against transformers and against themselves.
final class GradientContributionTests: XCTestCase {
  private func probe(
    _ checkpoint: Checkpoint, _ method: ContributionDefinition.Method,
    _ target: ContributionDefinition.Target = .logit
  ) -> AttentionProbe {
    AttentionProbe(
      checkpoint,
      definition: ContributionOracle.definition(
        ContributionDefinition(method: method, target: target, piece: .prediction)))
  }

  /// Six prompts of the reference model, every row.
  func testGradientInputOfTheEmbeddedModel() throws {
    let oracle = try OracleCase("avdigits_model")
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    let tolerance = try XCTUnwrap(oracle.description["suggested_tolerance_abs"]?["grad_x_input"]?.doubleValue)
    let probe = probe(checkpoint, .gradientInput)
    for sample in try ContributionOracle.samples(oracle) {
      let found = try XCTUnwrap(probe.record(of: sample, keepsKeys: false).contribution)
      let tokens = try XCTUnwrap(found.tokens)
      for form in ["", "_f64"] {
        try oracle.compare(tokens, with: "\(sample.id).grad_x_input\(form)", absolute: tolerance)
      }
      XCTAssertEqual(
        try XCTUnwrap(found.effect).reduce(0, +), tokens.reduce(0) { $0 + Double($1) }, accuracy: 1e-5)
      XCTAssertEqual(found.magnitude.reduce(0, +), tokens.reduce(0) { $0 + abs(Double($1)) }, accuracy: 1e-5)
    }
    oracle.finish { !$0.contains("grad_x_input") }
  }

  /// Gradients, gradient times input and both integrals of a LLaVA language model.
  func testGradientsMatchTheReference() throws {
    let oracle = try OracleCase("attribution")
    let (decoder, embeddings, roles) = try ContributionOracle.attribution(oracle)
    let relative = try XCTUnwrap(oracle.description["tolerance"]?["grad/ig_rel_l2"]?.doubleValue)
    let context = TokenContext(roles: roles)
    let id = try oracle.integers("target_id")[0]
    let target = TargetFunction(target: .logit, id: id, rival: 0, prediction: id)
    let gradient = GradientInput.gradients(decoder, embeddings, context) { $0.map(target.gradient) }
    /// The tolerance is on the norm of the difference over the norm of the expected values.
    func compare(_ values: [Double], _ name: String) throws {
      let expected = try oracle.stored(name).doubles()
      let norm = expected.reduce(0) { $0 + $1 * $1 }.squareRoot()
      let difference = zip(values, expected).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
      XCTAssertLessThanOrEqual(difference, relative * norm, name)
      // Element by element the same bound, which also counts them.
      try oracle.compare(values.map { Float($0) }, with: name, absolute: relative * norm)
    }
    try compare(gradient.doubles, "grad_embeds")
    try compare(
      gradient.hostRows().map { row in row.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot() },
      "grad_l2")
    for name in ["grad_x_input", "grad_x_input_f64"] {
      try compare(GradientInput.rowProducts(gradient, embeddings), name)
    }
    let zero = Tensor(zeros: embeddings.shape)
    for (name, shift) in [("midpoint", 0.5), ("right", 1.0)] {
      let path = IntegratedGradients.path(
        decoder, embeddings, context, from: zero, at: (0..<32).map { (Double($0) + shift) / 32 },
        target: target)
      for form in ["", "_f64"] { try compare(path.effects, "ig.\(name)\(form)") }
      try compare(path.values, "ig.\(name).path_logits")
    }
    let start = decoder.forward(zero, context: context, options: ForwardOptions()).logits?.hostValues()[id]
    try oracle.compare([try XCTUnwrap(start)], with: "ig.logit_at_baseline", absolute: 1e-6)
    oracle.finish { !$0.hasPrefix("grad") && !$0.hasPrefix("ig.") }
  }

  /// Integrals from a near baseline miss v(all) − v(baseline) by little, and by less with more steps.
  func testIntegralsAreComplete() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    let data = try DataSet(Fixtures.avdigitsData("test.qa.jsonl"))
    for target in ContributionDefinition.Target.allCases {
      var residuals: [Double] = []
      for steps in [8, 64] {
        let probe = probe(checkpoint, .integratedGradients(steps: steps, baseline: .blank), target)
        var worst = 0.0
        for index in [0, 3] {
          let sample = try data.sample(at: index, for: checkpoint.model)
          let found = try XCTUnwrap(probe.record(of: sample, keepsKeys: false).contribution)
          let baseline = try XCTUnwrap(found.baselineValue)
          let whole = try XCTUnwrap(found.effect).reduce(0, +)
          XCTAssertEqual(
            whole - (found.target.value - baseline), try XCTUnwrap(found.residual), accuracy: 1e-9)
          // Rows that the baseline leaves as they are add nothing.
          XCTAssertEqual(try XCTUnwrap(found.effect)[0], 0)
          worst = max(worst, abs(try XCTUnwrap(found.residual)))
        }
        residuals.append(worst)
      }
      XCTAssertLessThan(residuals[1], 0.1, "\(target)")
      XCTAssertLessThan(residuals[1], residuals[0], "\(target)")
    }
  }

  /// The gradient of each target with respect to the logits, against central differences in Float64 of its value.
  func testTargetGradients() {
    let logits = randomTensor([9], seed: 4, scale: 3).hostValues()
    for kind in ContributionDefinition.Target.allCases {
      let target = TargetFunction(target: kind, id: 2, rival: 5, prediction: 2)
      let gradient = target.gradient(logits)
      for index in logits.indices {
        var (up, down) = (logits, logits)
        let step: Float = 1.0 / 128
        up[index] += step
        down[index] -= step
        let expected = (target.value(up) - target.value(down)) / (Double(up[index]) - Double(down[index]))
        XCTAssertEqual(Double(gradient[index]), expected, accuracy: 1e-4, "\(kind) \(index)")
      }
    }
  }
}
