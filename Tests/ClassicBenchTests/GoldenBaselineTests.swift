import TensorCore
import XCTest

@testable import ClassicBench

final class GoldenBaselineTests: XCTestCase {
  func testJoint() throws {
    for count in 2...3 {
      let run = try GoldenRun("joint_m\(count)", Joint())
      try run.twoSteps()
      run.oracle.finish()
    }
  }

  func testUnimodalEnsemble() throws {
    for count in 2...3 {
      let run = try GoldenRun("unimodal_m\(count)", UnimodalEnsemble())
      try run.twoSteps()
      let batch = try run.batch(1)
      let parameters = Parameters(run.parameters.named)
      let features = batch.inputs.indices.map { run.model.features($0, of: batch.inputs[$0], parameters) }
      let mean = run.method.evaluationLogits(
        run.model, features, present: batch.inputs.map { _ in true }, parameters)
      try run.oracle.compare(mean, "eval.ume_probabilities")
      run.oracle.finish()
    }
  }

  /// A single run of one modality moves its own branch as the ensemble does, and nothing else.
  func testUnimodalIsOneBranchOfTheEnsemble() throws {
    let run = try GoldenRun("unimodal_m2", UnimodalEnsemble())
    let (batch, place) = (try run.batch(0), StepPlace())
    let all = run.compute(batch, at: place).gradients
    let alone = run.compute(batch, at: place, method: Unimodal(modality: 1)).gradients
    XCTAssertEqual(Set(alone.keys), Set(all.keys.filter { $0.contains("visual") }))
    for (name, gradient) in alone { XCTAssertEqual(gradient, all[name], name) }
  }

  func testUniform() throws {
    for count in 2...3 {
      let run = try GoldenRun("uniform_m\(count)", Uniform())
      try run.twoSteps()
      run.oracle.finish()
    }
  }

  func testOneModalityIsRefused() {
    XCTAssertNil(Joint.refusal(of: [.audio]))
    XCTAssertNotNil(OGM.refusal(of: [.audio]))
    XCTAssertNotNil(Joint.refusal(of: []))
  }
}
