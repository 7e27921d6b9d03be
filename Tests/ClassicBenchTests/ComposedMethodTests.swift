import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import ClassicBench

/// Methods of different stages in one training.
final class ComposedMethodTests: XCTestCase {
  private static func opm(baseRate: Double = 0.6) -> OPM {
    var options = OPM.Options()
    (options.baseRate, options.executionShare, options.warmupEpochs) = (baseRate, 1, 0)
    return OPM(options)
  }

  private static func ogm(alpha: Double) -> OGM.Options {
    var options = OGM.Options()
    options.alpha = alpha
    return options
  }

  // MARK: Both, and each alone

  /// OPM drops features and the losses are of what is left; then OGM-GE scales and shakes these gradients, with scores of
  /// what is left.
  func testOPMWithOGMGEIsOneAfterTheOther() throws {
    for count in 2...3 {
      let strengths = Array([Float(3), 0.3, 1].prefix(count))
      let composed = ComposedMethod([OGMGE(Self.ogm(alpha: 0.8)), Self.opm()])
      XCTAssertEqual(composed.identifier, "opm+ogm-ge")
      let toy = ToyModel(composed, strengths: strengths, noise: 0.1)
      let batch = ToyModel.batch(modalities: count)
      let found = toy.step(batch)
      let dropped = toy.step(batch, method: Self.opm())
      let plain = toy.step(batch, method: Joint())
      XCTAssertNotEqual(try dropped.gradient("head.weight"), try plain.gradient("head.weight"))
      XCTAssertEqual(found.rawGradients, dropped.gradients)
      let forward = dropped.forward
      let scores = DiscrepancyRatio.scores(forward.detachedUnimodal(), forward.labels)
      XCTAssertEqual(try found.figures("ogm-ge.score"), scores)
      XCTAssertEqual(try found.figures("opm.q"), try dropped.figures("q"))
      let random = KeyedRandom(seed: 1, place: StepPlace())
      var scaled = 0
      for (m, name) in toy.model.names.enumerated() {
        let others = scores.indices.filter { $0 != m }
        let ratio = others.reduce(0.0) { $0 + scores[m] / scores[$1] } / Double(others.count)
        let k = ratio > 1 ? 1 - tanh(0.8 * ratio) : 1
        if ratio > 1 { scaled += 1 }
        for parameter in ["encoder.\(name).weight", "encoder.\(name).bias"] {
          let gradient = try dropped.gradient(parameter).doubles
          let mean = gradient.reduce(0, +) / Double(gradient.count)
          let squares = gradient.reduce(0.0) { $0 + ($1 - mean) * ($1 - mean) }
          let sigma = (squares / Double(gradient.count - 1)).squareRoot() + 1e-8
          let draws = random.normals(gradient.count, for: "normal." + parameter)
          let expected = zip(gradient, draws).map { k * $0 + sigma * Double($1) }
          assertClose(
            try found.gradient(parameter), expected, shape: try dropped.gradient(parameter).shape,
            absolute: 1e-6, parameter)
        }
      }
      XCTAssertGreaterThan(scaled, 0)
      XCTAssertEqual(try found.gradient("head.weight"), try dropped.gradient("head.weight"))
    }
  }

  /// A part that is off leaves the other as it is alone, to the bit, on the network and batches of the reference cases.
  func testAPartThatIsOffChangesNothing() throws {
    for count in 2...3 {
      let run = try GoldenRun("ogm_m\(count)", Joint())
      let random = KeyedRandom(seed: 2, place: StepPlace())
      for k in 0..<2 {
        let (batch, place) = (try run.batch(k), StepPlace(step: k, batch: k, batchesPerEpoch: 2))
        let pairs: [(composed: [any ImbalanceMethod], alone: any ImbalanceMethod)] = [
          ([Self.opm(baseRate: 0), OGM()], OGM()), ([Self.opm(baseRate: 0), OGMGE()], OGMGE()),
          ([Self.opm(), OGM(Self.ogm(alpha: 0))], Self.opm()),
          ([MMCosine(), OGM(Self.ogm(alpha: 0))], Joint()), ([Relearning(), Self.opm()], Self.opm()),
        ]
        for (parts, alone) in pairs {
          let found = run.compute(batch, at: place, random: random, method: ComposedMethod(parts))
          let expected = run.compute(batch, at: place, random: random, method: alone)
          XCTAssertEqual(found.gradients, expected.gradients, ComposedMethod(parts).identifier)
          XCTAssertEqual(found.total, expected.total)
        }
      }
    }
  }

  // MARK: Which compose

  private func read(_ text: String) throws -> MethodCatalog.Choice {
    let reader = try ExperimentReader(path: "test", bytes: [UInt8](text.utf8))
    let choice = try MethodCatalog.read(reader, modalities: ["audio", "image"])
    try reader.finish()
    return choice
  }

  func testOptionsOfAPartAreUnderItsName() throws {
    let choice = try read(
      #"{"id": "opm+ogm-ge", "ogm-ge": {"alpha": 0.8}, "opm": {"warmup_epochs": 2}}"#)
    XCTAssertEqual(choice.label, "opm+ogm-ge")
    XCTAssertFalse(choice.needsTeachers)
    let method = try XCTUnwrap(choice.make(MethodCatalog.Ingredients()) as? ComposedMethod)
    XCTAssertEqual((method.parts[0] as? OPM)?.options.warmupEpochs, 2)
    XCTAssertEqual((method.parts[1] as? OGMGE)?.options.alpha, 0.8)
    XCTAssertTrue(try read(#"{"id": "opm+umt"}"#).needsTeachers)
    XCTAssertThrowsError(try read(#"{"id": "opm+ogm", "alpha": 1}"#)) {
      guard case ExperimentError.unknownKey? = $0 as? ExperimentError else { return XCTFail("\($0)") }
    }
    XCTAssertThrowsError(try read(#"{"id": "opm+ogm", "ogm": {"alpah": 1}}"#)) {
      guard case ExperimentError.unknownKey(_, let key, let nearest, _)? = $0 as? ExperimentError else {
        return XCTFail("\($0)")
      }
      XCTAssertEqual([key, nearest], ["ogm.alpah", "alpha"])
    }
    XCTAssertThrowsError(try read(#"{"id": "opm+ogn"}"#)) {
      XCTAssertEqual(($0 as? BenchError)?.code, .unknownMethod)
    }
    XCTAssertThrowsError(try read(#"{"id": "opm+"}"#)) {
      XCTAssertEqual(($0 as? BenchError)?.code, .unknownMethod)
    }
  }

  func testWhatWouldNotBeHeardIsRefused() throws {
    for (id, reason) in [
      ("opm+amco", "opm and amco are both of the stage forward"),
      ("ogm+ogm", "ogm and ogm are both of the stage optimization"),
      ("cml+agm", "both cml and agm have a loss of their own"),
      ("mmcosine+mla", "both mmcosine and mla have a head of their own"),
      ("udi+ogm", "udi trains branches without a fused head, which ogm needs"),
      (
        "modality-valuation+greedy",
        "greedy trains branches without a fused head, which modality-valuation needs"
      ),
      ("mla+inforeg", "mla takes modalities in turns, inforeg compares all of them in a step"),
      ("joint+ogm", "joint changes nothing: leave it out"),
      (
        "rollingq+ogm",
        "rollingq rotates the query of the head, and other methods score the head without that"
      ),
    ] {
      XCTAssertThrowsError(try read("{\"id\": \"\(id)\"}"), id) { error in
        guard case BenchError.refused(let method, let found)? = error as? BenchError else {
          return XCTFail("\(id): \(error)")
        }
        XCTAssertEqual([method, found], [id, reason])
      }
    }
  }

  /// A part that cannot do with the model says so.
  func testARefusalOfAPartIsNamed() throws {
    XCTAssertThrowsError(try SmallTask(count: 1).task(ComposedMethod([Self.opm(), OGM()]))) { error in
      guard case BenchError.refused(let method, let reason)? = error as? BenchError else {
        return XCTFail("\(error)")
      }
      XCTAssertEqual(method, "opm+ogm")
      XCTAssertTrue(reason.hasPrefix("opm: "), reason)
    }
  }

  // MARK: Training

  private var composed: [SmallTask.Entry] {
    let small = SmallTask(count: 2)
    func make(_ id: String) -> () -> any ImbalanceMethod {
      small.entries.first { $0.label == id }?.make ?? { Joint() }
    }
    let ids = [
      ["opm", "ogm-ge"], ["modality-valuation sample", "opm", "inforeg"], ["gblending", "relearning"],
      ["modality-valuation modality", "mla"], ["mmpareto", "ogm"], ["opm", "reconboost"], ["amco", "ogm"],
    ]
    return ids.map { parts in
      SmallTask.Entry("composed", parts.joined(separator: "+")) { ComposedMethod(parts.map { make($0)() }) }
    }
  }

  /// Stopped at every boundary of epochs and within every epoch, with two and with three modalities.
  func testResumedRunsEndInTheSameBytes() throws {
    for count in 2...3 {
      let small = SmallTask(count: count)
      for entry in composed {
        let (directory, parts) = (try TemporaryDirectory(), try TemporaryDirectory())
        let whole = try SmallTask.folder(directory, .fresh)
        let steps = try small.finish(entry, in: whole).stepsPerEpoch
        let stops = (0..<small.epochs).flatMap { [$0 * steps, $0 * steps + 1 + $0 % 2] }.dropFirst()
        for (index, stop) in stops.enumerated() {
          try small.stop(
            entry, after: stop, in: try SmallTask.folder(parts, index == 0 ? .fresh : .resume))
        }
        let resumed = try SmallTask.folder(parts, .resume)
        try small.finish(entry, in: resumed)
        for name in ["state.safetensors", "log.jsonl"] {
          XCTAssertEqual(
            try Data(contentsOf: resumed.url(of: name)), try Data(contentsOf: whole.url(of: name)),
            "\(entry.label) with \(count) modalities: \(name)")
        }
      }
    }
  }

  /// Every pair of the catalog that is not refused trains to the end, and the others say why.
  func testEveryPairThatIsNotRefusedTrains() throws {
    for count in 2...3 {
      let small = SmallTask(count: count, epochs: 2)
      let entries = small.entries
      var (trained, refused) = (0, 0)
      for (place, first) in entries.enumerated() {
        for second in entries[(place + 1)...] {
          let parts = [first.make(), second.make()]
          if ComposedMethod.conflict(parts.map { type(of: $0) }) != nil {
            refused += 1
            continue
          }
          let label = "\(first.label)+\(second.label)"
          let entry = SmallTask.Entry("composed", label) { ComposedMethod([first.make(), second.make()]) }
          let directory = try TemporaryDirectory()
          let task: ClassicTask
          do {
            task = try small.finish(entry, in: try SmallTask.folder(directory, .fresh))
          } catch BenchError.refused {
            // One part wants a head that the other cannot do with.
            refused += 1
            continue
          }
          let metrics = try task.evaluate(task.parameters, step: 0)
          XCTAssertTrue((0...1).contains(metrics[0].value), label)
          trained += 1
        }
      }
      XCTAssertGreaterThan(trained, 40)
      XCTAssertGreaterThan(refused, 100)
    }
  }

  // MARK: What methods say of themselves

  private static let witnesses: [(hook: MethodHook, text: [String])] = [
    (.head, ["model.head = "]), (.branches, ["model.hasHead", "(false, true)"]),
    (.turns, ["func stepsPerBatch("]), (.subStep, ["func subStep("]), (.inputs, ["func inputs("]),
    (.features, ["func features(_ forward"]), (.losses, ["func losses("]),
    (.gradientMode, ["var gradientMode"]), (.evaluation, ["func evaluationLogits("]),
    (.afterBackward, ["func afterBackward("]),
  ]

  /// The hooks that a method says it has are those that its code defines.
  func testMethodsNameTheHooksTheyDefine() throws {
    let folder = Fixtures.url("../../Sources/ClassicBench/Methods").standardizedFileURL
    var bodies: [String: String] = [:]
    for file in try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil) {
      let lines = String(decoding: try Data(contentsOf: file), as: UTF8.self).components(separatedBy: "\n")
      var name: String?
      for line in lines {
        if line.hasPrefix("final class ") || line.hasPrefix("class ") {
          name = line.components(separatedBy: "class ")[1].components(separatedBy: ":")[0]
        }
        if let name { bodies[name, default: ""] += line + "\n" }
        if line == "}" { name = nil }
      }
    }
    // It is what OGM is, with noise.
    let plain = bodies["OGM"] ?? ""
    bodies["OGMGE", default: ""] += plain
    for type in MethodCatalog.types {
      let body = try XCTUnwrap(bodies[String(describing: type)], type.id)
      for (hook, texts) in Self.witnesses {
        XCTAssertEqual(
          texts.allSatisfy(body.contains), type.hooks.contains(hook), "\(type.id): \(hook)")
      }
    }
    XCTAssertEqual(Set(Self.witnesses.map(\.hook)), Set(MethodHook.allCases))
  }

  func testStagesAndReconstructionsOfComposedNames() {
    XCTAssertEqual(MethodCatalog.stage("opm"), .forward)
    XCTAssertEqual(MethodCatalog.stage("opm+ogm"), .composed)
    XCTAssertNil(MethodCatalog.stage("opm+none"))
    XCTAssertTrue(MethodCatalog.isReconstruction("amco+ogm"))
    XCTAssertFalse(MethodCatalog.isReconstruction("opm+ogm"))
  }
}
