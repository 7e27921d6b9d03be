import Foundation
import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import ClassicBench

/// One case of `Tests/Fixtures/classic`: every tensor in its file must be compared or used as an input.
final class ClassicOracle {
  let name: String
  let description: JSONValue
  let file: SafetensorsFile
  private let tolerance: Double
  private var used: Set<String> = []
  private var compared: [String: Int] = [:]
  private var worst = (share: 0.0, name: "none")

  init(_ name: String) throws {
    self.name = name
    let folder = Fixtures.url("classic/\(name)")
    description = try JSONValue(parsing: Data(contentsOf: folder.appendingPathComponent("case.json")))
    file = try SafetensorsFile(path: folder.appendingPathComponent("tensors.safetensors").path)
    tolerance = try XCTUnwrap(description["tolerance"]?["relative"]?.doubleValue)
  }

  var modalities: [String] { description["modalities"]?.arrayValue?.compactMap(\.stringValue) ?? [] }

  func has(_ name: String) -> Bool { file[name] != nil }
  func names(_ prefix: String) -> [String] { file.names.filter { $0.hasPrefix(prefix) }.sorted() }

  /// A tensor as an input.
  func values(_ name: String) throws -> [Double] {
    used.insert(name)
    let stored = try file.tensor(name)
    return [.i64, .i32].contains(stored.elementType)
      ? try stored.integers().map(Double.init) : try stored.doubles()
  }

  func integers(_ name: String) throws -> [Int] { try values(name).map { Int($0) } }

  func tensor(_ name: String) throws -> Tensor {
    Tensor(try values(name).map { Float($0) }, shape: try file.tensor(name).shape)
  }

  /// Fails unless every element is within the case's tolerance: relative to the largest element, or 1e-3.
  func compare(_ found: [Double], _ name: String, file path: StaticString = #filePath, line: UInt = #line)
    throws
  {
    let expected = try values(name)
    compared[name] = expected.count
    guard found.count == expected.count else {
      return XCTFail(
        "\(self.name) \(name): \(found.count) elements, expected \(expected.count)", file: path, line: line)
    }
    let scale = max(1e-3, expected.map(abs).max() ?? 0)
    let isExact = [.i64, .i32].contains(try file.tensor(name).elementType)
    for index in found.indices {
      let share = abs(found[index] - expected[index]) / scale
      // A comparison with NaN is false, so the test is for being within tolerance.
      guard isExact ? found[index] == expected[index] : share <= tolerance else {
        return XCTFail(
          "\(self.name) \(name)[\(index)]: \(found[index]), expected \(expected[index]), relative \(share)",
          file: path, line: line)
      }
      if share > worst.share { worst = (share, name) }
    }
  }

  func compare(_ found: Tensor?, _ name: String, file path: StaticString = #filePath, line: UInt = #line)
    throws
  {
    guard let found else {
      return XCTFail("\(self.name) \(name): nothing was computed", file: path, line: line)
    }
    try compare(found.detached.doubles, name, file: path, line: line)
  }

  /// Fails for every tensor that was neither compared nor used, and prints what was done.
  func finish(file path: StaticString = #filePath, line: UInt = #line) {
    let missing = file.names.filter { compared[$0] == nil && !used.contains($0) }
    XCTAssertEqual(missing, [], "\(name): tensors not compared", file: path, line: line)
    XCTAssertGreaterThan(compared.count, 0, file: path, line: line)
    print(
      "oracle classic/\(name): \(compared.count) tensors, \(compared.values.reduce(0, +)) elements compared; "
        + "largest relative difference \(worst.share) in \(worst.name); inputs \(used.subtracting(compared.keys).count)"
    )
  }
}

/// Draws that a case gives.
struct GivenRandom: StepRandom {
  var normal: [String: [Float]] = [:]
  var uniform: [String: [Float]] = [:]
  var orders: [String: [Int]] = [:]

  func normals(_ count: Int, for purpose: String) -> [Float] { checked(normal[purpose], count, purpose) }
  func uniforms(_ count: Int, for purpose: String) -> [Float] { checked(uniform[purpose], count, purpose) }
  func order(of count: Int, for purpose: String) -> [Int] { checked(orders[purpose], count, purpose) }

  private func checked<Value>(_ values: [Value]?, _ count: Int, _ purpose: String) -> [Value] {
    XCTAssertEqual(values?.count, count, "draws for \(purpose)")
    return values ?? []
  }
}

/// A method on the network of the cases, step by step.
final class GoldenRun {
  let oracle: ClassicOracle
  let method: any ImbalanceMethod
  let model: ClassicModel
  let parameters: ParameterSet
  private(set) var optimizer: Optimizer
  /// Names of the model's parameters that the case has under others.
  private let renamed: (String) -> String

  /// - Parameters:
  ///   - name: The case.
  ///   - prefix: What stands before the names of parameters at the start.
  ///   - missing: Values of parameters that the case does not have.
  init(
    _ name: String, _ method: any ImbalanceMethod, prefix: String = "before.",
    encoders: [any Encoder]? = nil,
    missing: (ParameterShape) -> Tensor? = { _ in nil },
    renamed: @escaping (String) -> String = { $0 }
  ) throws {
    oracle = try ClassicOracle(name)
    self.method = method
    self.renamed = renamed
    let sizes = try XCTUnwrap(oracle.description["sizes"])
    func size(_ key: String) throws -> Int { try XCTUnwrap(sizes[key]?.intValue) }
    let names = oracle.modalities
    let encoders =
      try encoders
      ?? names.map {
        MLPEncoder(
          inputSize: try XCTUnwrap(sizes["d_in"]?[$0]?.intValue), hiddenSize: try size("hidden"),
          featureSize: try size("d"), activation: .tanh)
      }
    var model = ClassicModel(
      modalities: names.map { Modality(rawValue: $0) }, encoders: encoders, classCount: try size("classes"))
    XCTAssertNil(type(of: method).refusal(of: model.modalities))
    method.build(&model)
    XCTAssertNil(method.refusal(of: model))
    self.model = model
    let oracle = oracle
    parameters = ParameterSet(
      try model.parameterShapes.map { shape in
        let stored = prefix + renamed(shape.name)
        if let value = missing(shape), !oracle.has(stored) { return (shape.name, value) }
        return (shape.name, try oracle.tensor(stored).reshaped(to: shape.shape))
      })
    optimizer = Self.optimizer(parameters, oracle)
    method.fitStart(model, parameters, samples: 8)
  }

  private static func optimizer(_ parameters: ParameterSet, _ oracle: ClassicOracle) -> Optimizer {
    let decay = oracle.description["optimizer"]?["weight_decay"]?.doubleValue ?? 0
    let momentum = oracle.description["optimizer"]?["momentum"]?.doubleValue ?? 0
    return Optimizer(parameters, rule: SGD(momentum: momentum), groups: [ParameterGroup(weightDecay: decay)])
  }

  func restartOptimizer() { optimizer = Self.optimizer(parameters, oracle) }

  func batch(_ index: Int) throws -> ClassicBatch {
    ClassicBatch(
      inputs: try oracle.modalities.map { try oracle.tensor("batch\(index).x.\($0)") },
      labels: try oracle.integers("batch\(index).y"))
  }

  /// The step as the engine does it, nothing compared.
  func compute(
    _ batch: ClassicBatch, at place: StepPlace, random: any StepRandom = GivenRandom(),
    method other: (any ImbalanceMethod)? = nil
  ) -> StepResult {
    StepEngine(model: model, method: other ?? method, recordsTensors: true)
      .step(parameters.named, batch, at: place, random: random)
  }

  /// Computes step `k`, compares everything that the case has of it, moves the parameters and compares them.
  ///
  /// - Parameters:
  ///   - movesParameters: Which gradients the optimizer gets.
  ///   - special: Tensors that the caller compares; given their names behind `step<k>.`.
  @discardableResult
  func step(
    _ k: Int, _ batch: ClassicBatch, at place: StepPlace, random: any StepRandom = GivenRandom(),
    moving isMoved: (String) -> Bool = { _ in true }, special: (String) -> Bool = { $0.hasPrefix("alt.") },
    after: Int? = nil
  ) throws -> StepResult {
    let result = compute(batch, at: place, random: random)
    let prefix = "step\(k)."
    for name in oracle.names(prefix) {
      let key = String(name.dropFirst(prefix.count))
      if !special(key) { try compareOne(key, name, result) }
    }
    let listed = Set(oracle.names(prefix + "grad.").map { String($0.dropFirst((prefix + "grad.").count)) })
    if !listed.isEmpty {
      XCTAssertEqual(
        Set(result.rawGradients.keys.filter(isMoved).map(renamed)), listed,
        "\(oracle.name) gradients of step \(k)")
    }
    try move(result, to: after ?? k + 1, moving: isMoved)
    return result
  }

  private func compareOne(_ key: String, _ name: String, _ result: StepResult) throws {
    let parts = key.split(separator: ".", maxSplits: 1).map(String.init)
    let rest = parts.count > 1 ? parts[1] : ""
    let index = oracle.modalities.firstIndex(of: rest)
    if let tensor = result.context.tensors[key] { return try oracle.compare(tensor, name) }
    if let figures = result.context.figures.last(where: { $0.name == key }) {
      return try oracle.compare(figures.values, name)
    }
    func own(_ gradients: [String: Tensor]) -> Tensor? {
      gradients.first { renamed($0.key) == rest }?.value
    }
    switch (parts[0], index) {
    case ("h", let index?): try oracle.compare(result.forward.feature(index), name)
    case ("u", let index?):
      try oracle.compare(
        model.hasHead ? result.forward.unimodal(index) : result.forward.unimodalHead(index), name)
    case ("z", _): try oracle.compare(result.forward.fused, name)
    case ("loss", _):
      let terms = result.losses.filter { $0.name == rest }
      try oracle.compare([terms.first?.value ?? (rest == "total" ? result.total : .nan)], name)
    case ("grad", _): try oracle.compare(own(result.rawGradients), name)
    case ("edited", _): try oracle.compare(own(result.gradients), name)
    default: XCTFail("\(oracle.name): nothing compares \(name)")
    }
  }

  /// Moves the parameters and compares those that the case has; the others must keep their bits.
  func move(_ result: StepResult, to count: Int, moving isMoved: (String) -> Bool = { _ in true }) throws {
    let before = parameters.values.map { $0.hostValues() }
    let rate = oracle.description["optimizer"]?["lr"]?.doubleValue ?? 0
    let gradients = parameters.names.map { isMoved($0) ? result.gradients[$0] : nil }
    optimizer.step(gradients, learningRate: rate)
    method.afterStep(result.forward, result.context)
    let hasAny = !oracle.names("after\(count).").isEmpty
    for (index, name) in parameters.names.enumerated() {
      let stored = "after\(count).\(renamed(name))"
      if oracle.has(stored) {
        try oracle.compare(parameters.values[index], stored)
      } else if hasAny {
        XCTAssertEqual(parameters.values[index].hostValues(), before[index], "\(oracle.name): \(name) moved")
      }
    }
  }

  /// Steps 0 and 1 on batches 0 and 1.
  func twoSteps(
    epochs: [Int] = [0, 0], random: (Int) throws -> any StepRandom = { _ in GivenRandom() },
    special: (String) -> Bool = { $0.hasPrefix("alt.") },
    each: (Int, ClassicBatch, StepPlace, StepResult) throws -> Void = { _, _, _, _ in },
    before: (Int, ClassicBatch, StepPlace, any StepRandom) throws -> Void = { _, _, _, _ in }
  ) throws {
    for k in 0..<2 {
      let (batch, place) = (try batch(k), StepPlace(epoch: epochs[k], step: k, batch: k, batchesPerEpoch: 2))
      let random = try random(k)
      try before(k, batch, place, random)
      try each(k, batch, place, step(k, batch, at: place, random: random, special: special))
    }
  }
}
