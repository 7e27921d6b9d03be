import Foundation
import TensorCore
import TestSupport
import XCTest

@testable import PEFT
@testable import TokenModel

/// The key layouts of the two releases of MokA.
final class MokAImportTests: XCTestCase {
  private static let modules = ["self_attn.q_proj", "mlp.down_proj"]

  /// Tensors of the modules of all layers of the case `llama`, as they were drawn: uniform in ±1/√columns.
  private func release(
    _ leaves: [(name: String, isDown: Bool)], prefix: String, sites: [LinearSite], rank: Int = 4
  ) throws -> [StoredTensor] {
    var (tensors, seed) = ([StoredTensor](), UInt64(1))
    for site in sites {
      for leaf in leaves {
        let shape = leaf.isDown ? [rank, site.inputSize] : [site.outputSize, rank]
        let bound = 1 / Float(site.inputSize).squareRoot()
        seed += 1
        tensors.append(
          try StoredTensor(
            name: "\(prefix)\(site.name).\(leaf.name).weight", shape: shape,
            floats: randomTensor(shape, seed: seed, scale: bound).hostValues()))
      }
    }
    return tensors
  }

  private func sites(_ checkpoint: Checkpoint) throws -> [LinearSite] {
    try ModelInventory(checkpoint).sites.filter { site in Self.modules.contains { site.name.hasSuffix($0) } }
  }

  func testTheAudioVisualTextRelease() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("llama"))
    let sites = try sites(checkpoint)
    let tensors = try release(
      [("lora_A0", true), ("lora_A1", true), ("lora_A2", true), ("lora_B0", false)],
      prefix: "base_model.model.", sites: sites)
    let other = try StoredTensor(name: "vl_projector.0.weight", shape: [1], floats: [1])
    let folder = try TemporaryDirectory()
    try FileManager.default.createDirectory(atPath: folder.path, withIntermediateDirectories: true)
    let file = URL(fileURLWithPath: folder.path).appendingPathComponent("release.safetensors")
    try SafetensorsWriter.write(tensors: tensors + [other], to: file.path)
    let imported = try MokAImport(file, for: checkpoint)
    XCTAssertEqual(imported.release, .audioVisualText)
    XCTAssertEqual(imported.otherKeys, ["vl_projector.0.weight"])
    XCTAssertEqual(imported.plan.configuration.moka?.modalities, [.text, .image, .audio])
    XCTAssertEqual(imported.plan.configuration.moka?.gain, .scaleSquared)
    XCTAssertEqual(imported.plan.modules.map(\.scale), sites.map { _ in 4 })
    XCTAssertEqual(imported.tensors.count, 4 * sites.count)
    let names = [
      "lora_A0": "lora_A.text", "lora_A1": "lora_A.image", "lora_A2": "lora_A.audio", "lora_B0": "lora_B",
    ]
    for tensor in tensors {
      let own = names.reduce(tensor.name.dropFirst("base_model.model.".count).description) {
        $0.replacingOccurrences(of: $1.key, with: $1.value)
      }
      XCTAssertEqual(imported.tensors[own]?.hostValues(), try tensor.floats(), own)
    }
    // Written as an adapter folder, it is read again.
    let target = URL(fileURLWithPath: folder.path).appendingPathComponent("adapter")
    try imported.plan.write(imported.tensors, to: target)
    let stored = try StoredAdapter(folder: target, for: checkpoint)
    XCTAssertEqual(stored.tensors.count, imported.tensors.count)
    XCTAssertEqual(stored.plan.configuration, imported.plan.configuration)
  }

  func testTheVisualTextReleaseAndTheFirstDrawOfItsImages() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("llama"))
    let sites = try sites(checkpoint)
    var tensors = try release(
      [("lora_A.text", true), ("lora_A.image", true), ("lora_B.text", false), ("lora_B.image", false)],
      prefix: "", sites: sites)
    // Layer 0 was trained: some of its elements have left the bound.
    tensors = try tensors.map { tensor in
      guard tensor.name.contains("layers.0."), tensor.name.contains("lora_A.image") else { return tensor }
      return try StoredTensor(
        name: tensor.name, shape: tensor.shape, floats: try tensor.floats().map { 1.3 * $0 })
    }
    let folder = try TemporaryDirectory()
    let file = URL(fileURLWithPath: folder.path).appendingPathComponent("model.safetensors")
    try SafetensorsWriter.write(tensors: tensors, to: file.path)
    let imported = try MokAImport(file, for: checkpoint)
    XCTAssertEqual(imported.release, .visualText)
    XCTAssertEqual(imported.plan.configuration.moka?.weights, [0, 0.05])
    XCTAssertEqual(imported.tensors.count, 3 * sites.count, "B of images was never used")
    let layers = checkpoint.model.decoder.configuration.layerCount
    XCTAssertEqual(imported.draws.map(\.layer), Array(0..<layers))
    XCTAssertEqual(imported.draws.map(\.looksUntrained), [false] + [Bool](repeating: true, count: layers - 1))
    XCTAssertGreaterThan(imported.draws[0].largest, 1.2)
    // What lies within the bound but is not uniform was trained too.
    let narrow = imported.plan.slots.reduce(into: imported.tensors) { tensors, slot in
      guard slot.name.contains("lora_A.image") else { return }
      tensors[slot.name] = 0.8 * (imported.tensors[slot.name] ?? Tensor(scalar: 0))
    }
    XCTAssertEqual(
      MokAImport.draws(imported.plan, narrow).dropFirst().map(\.looksUntrained),
      [Bool](repeating: false, count: layers - 1))
  }

  func testWhatIsNoReleaseIsRefused() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("llama"))
    let sites = try sites(checkpoint)
    let folder = try TemporaryDirectory()
    func check(_ tensors: [StoredTensor], _ code: AdapterError.Code, line: UInt = #line) throws {
      let file = URL(fileURLWithPath: folder.path).appendingPathComponent("x.safetensors")
      try SafetensorsWriter.write(tensors: tensors, to: file.path)
      XCTAssertThrowsError(try MokAImport(file, for: checkpoint), line: line) { error in
        XCTAssertEqual((error as? AdapterError)?.code, code, "\(error)", line: line)
      }
    }
    let whole = try release(
      [("lora_A0", true), ("lora_A1", true), ("lora_B0", false)], prefix: "", sites: sites)
    try check(try release([("lora_A", true), ("lora_B", false)], prefix: "", sites: sites), .unknownLayout)
    try check(Array(whole.dropLast()), .missingTensors)
    try check(
      whole.map { $0.renamed($0.name.replacingOccurrences(of: "layers.0.", with: "layers.77.")) },
      .unmatchedKeys)
    let odd = try StoredTensor(name: whole[0].name, shape: [4, 3], floats: [Float](repeating: 0, count: 12))
    try check([odd] + whole.dropFirst(), .wrongShape)
    let pickle = URL(fileURLWithPath: folder.path).appendingPathComponent("adapter_model.bin")
    try Data([0x80]).write(to: pickle)
    XCTAssertThrowsError(try MokAImport(pickle, for: checkpoint)) { error in
      XCTAssertEqual((error as? AdapterError)?.code, .pickled)
    }
  }
}
