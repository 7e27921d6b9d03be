import Foundation
import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import ClassicBench

/// The packed format: what is read back, and every way in which a folder can be wrong.
final class PackedDataTests: XCTestCase {
  private func code(_ body: () throws -> Void) -> String? {
    do {
      try body()
      return nil
    } catch let error as any DescribedError {
      XCTAssertFalse((error.errorDescription ?? "").isEmpty)
      XCTAssertFalse((error.recoverySuggestion ?? "").isEmpty)
      XCTAssertLessThan((error.errorDescription ?? "").utf8.count, 2000)
      return Self.word(error)
    } catch {
      return "not described: \(error)"
    }
  }

  private static func word(_ error: some DescribedError) -> String { error.code.rawValue }

  private func edit(_ folder: URL, _ from: String, _ to: String) throws {
    let url = folder.appendingPathComponent("manifest.json")
    let text = try String(contentsOf: url, encoding: .utf8)
    XCTAssertTrue(text.contains(from), from)
    try text.replacingOccurrences(of: from, with: to).write(to: url, atomically: true, encoding: .utf8)
  }

  func testRowsAreConvertedOnlyWhenAskedFor() throws {
    let tree = try DataTree.cremad()
    var recipe = DataTree.recipe
    (recipe.frames, recipe.inputSide) = (1, 20)
    let packed = try tree.packed(.cremad, recipe)
    let data = try packed.data([Modality(rawValue: "visual"), .audio])
    XCTAssertEqual(data.name, "cremad")
    XCTAssertEqual(data.encoders.map(\.inputShape), [[20, 20, 3], [257, 13, 1]])
    XCTAssertEqual(data.test.labels, [2, 5])
    let batch = data.test.batch([1, 0, 1])
    XCTAssertEqual(batch.inputs.map(\.shape), [[3, 20, 20, 3], [3, 257, 13, 1]])
    XCTAssertEqual(batch.labels, [5, 2, 5])
    let file = try SafetensorsFile(path: tree.output().appendingPathComponent("test-00000.safetensors").path)
    let bytes = try file.tensor("visual").bytes()
    let (mean, deviation) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    let expected = (bytes[1200..<2400] + bytes[0..<1200] + bytes[1200..<2400]).enumerated().map {
      index, byte in
      Float((Double(byte) / 255 - mean[index % 3]) / deviation[index % 3])
    }
    XCTAssertEqual(batch.inputs[0].hostValues(), expected)
    XCTAssertEqual(
      batch.inputs[1].hostValues().prefix(257 * 13), try file.tensor("audio").floats().suffix(257 * 13))
    // Larger stored pictures are made smaller for evaluation, or cut.
    for fit in DataRecipe.Fit.allCases {
      (recipe.inputSide, recipe.fit) = (16, fit)
      let folder = try tree.packed(.cremad, recipe)
      let small = try folder.data([Modality(rawValue: "visual")])
      XCTAssertEqual(small.test.batch([0]).inputs[0].shape, [1, 16, 16, 3])
      let stored = try SafetensorsFile(
        path: tree.output().appendingPathComponent("test-00000.safetensors").path)
      let image = RGBImage(
        height: 20, width: 20, pixels: Array(try stored.tensor("visual").bytes()[0..<1200]))
      let expected =
        fit == .crop
        ? image.cropped(rows: 2..<18, columns: 2..<18)
        : Resampling(.bilinear).resized(image, to: Medium.Extent(height: 16, width: 16))
      let values = expected.pixels.enumerated().map { index, byte in
        Float((Double(byte) / 255 - mean[index % 3]) / deviation[index % 3])
      }
      XCTAssertEqual(small.test.batch([0]).inputs[0].hostValues(), values)
    }
  }

  func testAVDigitsAreTheSameNumbersByRowsAndAtOnce() throws {
    let source = Fixtures.url("../../datasets/avdigits").standardizedFileURL
    let data = try ClassicData.read(source, modalities: [.image, .audio, .text])
    let all = data.test.inputs
    let some = data.test.batch([7, 0, 7]).inputs
    for (whole, part) in zip(all, some) {
      let size = whole.shape.dropFirst().reduce(1, *)
      let values = whole.hostValues()
      let rows = [7, 0, 7].flatMap { values[$0 * size..<($0 + 1) * size] }
      XCTAssertEqual(part.hostValues(), rows)
    }
    XCTAssertEqual(data.test.panelSize, 256)
  }

  func testAFolderThatIsNotAsItsManifestSaysIsRefused() throws {
    let tree = try DataTree.cremad()
    let packed = try tree.packed(.cremad)
    let folder = packed.url
    let manifest = try Data(contentsOf: folder.appendingPathComponent("manifest.json"))
    func restored() throws { try manifest.write(to: folder.appendingPathComponent("manifest.json")) }
    let edits: [(String, String, String)] = [
      ("mmprobe.data/v1", "mmprobe.data/v9", "packed_bad_manifest"),
      ("\"kind\": \"pictures\"", "\"kind\": \"films\"", "packed_bad_manifest"),
      ("\"input_side\": 16", "\"input_side\": 21", "packed_bad_manifest"),
      ("\"input_side\": 16", "\"input_side\": 16, \"more\": 1", "packed_bad_manifest"),
      ("[2, 20, 20, 3]", "[1, 20, 20, 3]", "packed_wrong_shard"),
      ("[257, 13]", "[13, 257]", "packed_wrong_shard"),
      ("\"e_SAD\"", "\"f_ANG\"", "packed_bad_manifest"),
      ("test-00000.safetensors", "../x.safetensors", "packed_bad_manifest"),
      // Test samples must not be trained on.
      ("test-00000.safetensors", "train-00000.safetensors", "packed_bad_manifest"),
      ("test-00000.safetensors", "test-00007.safetensors", "packed_missing_shard"),
      ("\"labels\": [2, 5]", "\"labels\": [2, 6]", "packed_bad_manifest"),
      ("\"name\": \"audio\"", "\"name\": \"a/b\"", "packed_bad_manifest"),
    ]
    for (from, to, expected) in edits {
      try restored()
      try edit(folder, from, to)
      let found = code { _ = try PackedFolder(folder) }
      XCTAssertEqual(found, expected, to)
    }
    try restored()
    XCTAssertNil(code { _ = try PackedFolder(folder) })
    XCTAssertEqual(
      code { _ = try packed.data([.text]) }, "packed_unknown_modality")
    XCTAssertEqual(
      code { _ = try packed.data([Modality(rawValue: "visual")]) }, "packed_no_encoder", "two frames")
    // A changed byte is found by the hash, a shorter file at once.
    let shard = folder.appendingPathComponent("test-00000.safetensors")
    var bytes = try Data(contentsOf: shard)
    bytes[bytes.count - 1] ^= 1
    try bytes.write(to: shard)
    XCTAssertEqual(try PackedFolder(folder).problems().map(\.kind), [.hashMismatch])
    try bytes.dropLast().write(to: shard)
    XCTAssertEqual(code { _ = try PackedFolder(folder) }, "packed_wrong_shard")
    try FileManager.default.removeItem(at: folder.appendingPathComponent("manifest.json"))
    XCTAssertEqual(code { _ = try PackedFolder(folder) }, "packed_no_manifest")
  }

  func testNumbersThatAreNotFiniteInAShardAreFound() throws {
    let tree = try DataTree.cremad()
    let folder = try tree.packed(.cremad).url
    let shard = folder.appendingPathComponent("test-00000.safetensors")
    let file = try SafetensorsFile(path: shard.path)
    let audio = try file.tensor("audio")
    var values = try audio.floats()
    values[3] = .infinity
    try SafetensorsWriter.write(
      tensors: [
        try StoredTensor(name: "audio", shape: audio.shape, floats: values), try file.tensor("visual"),
      ],
      to: shard.path)
    XCTAssertEqual(Set(try PackedFolder(folder).problems().map(\.kind)), [.hashMismatch, .notFinite])
  }

  /// Whatever bytes a manifest holds, it is read or refused in words.
  func testChangedManifestsAreReadOrRefused() throws {
    let tree = try DataTree.cremad()
    let folder = try tree.packed(.cremad).url
    let manifest = [UInt8](try Data(contentsOf: folder.appendingPathComponent("manifest.json")))
    var stream = RandomStream(seed: 5, purpose: "manifest")
    var refused = 0
    for _ in 0..<1000 {
      var bytes = manifest
      for _ in 0...stream.integer(below: 4) {
        let place = stream.integer(below: bytes.count)
        switch stream.integer(below: 4) {
        case 0: bytes[place] = UInt8(truncatingIfNeeded: stream.next())
        case 1: bytes.remove(at: place)
        case 2: bytes.insert(Array("0123456789-[]{},\"e".utf8)[stream.integer(below: 18)], at: place)
        default: bytes.removeSubrange(place..<min(bytes.count, place + stream.integer(below: 40)))
        }
      }
      do { _ = try PackedManifest(path: "manifest.json", bytes: bytes) } catch {
        refused += 1
        XCTAssertEqual(error.code, .badManifest)
        XCTAssertLessThan((error.errorDescription ?? "").utf8.count, 1000)
      }
    }
    XCTAssertGreaterThan(refused, 300)
    XCTAssertNotNil(code { _ = try PackedManifest(path: "m", bytes: Array(repeating: 0x5B, count: 100_000)) })
  }

  func testPackingGoesOnWithTheSamePlanOnly() throws {
    let tree = try DataTree.cremad()
    func pack(_ mode: RunFolder.Mode, _ recipe: DataRecipe = DataTree.recipe) throws {
      let packer = try DataPacker(tree.listing(.cremad, recipe), name: "cremad")
      _ = try packer.pack(to: tree.output(), mode: mode, threads: 1) { _, _ in }
    }
    try pack(.fresh)
    XCTAssertEqual(code { try pack(.fresh) }, "packing_occupied")
    XCTAssertNil(code { try pack(.resume) }, "it is whole")
    XCTAssertNil(code { try pack(.overwrite) })
    try Data("mine".utf8).write(to: tree.output().appendingPathComponent("notes.txt"))
    XCTAssertEqual(code { try pack(.overwrite) }, "packing_occupied")
    XCTAssertEqual(
      try String(contentsOf: tree.output().appendingPathComponent("notes.txt"), encoding: .utf8), "mine")
    try FileManager.default.removeItem(at: tree.output())
    // A shard that cannot be made leaves the plan and the shards before it.
    let sound = try Data(contentsOf: tree.url("audio/f_ANG.wav"))
    try tree.write("audio/f_ANG.wav", Data(repeating: 0x41, count: sound.count))
    XCTAssertNotNil(code { try pack(.fresh) })
    XCTAssertEqual(
      try FileSystem.names(in: tree.output().path),
      ["packing.json", "train-00000.safetensors", "validation-00000.safetensors"])
    XCTAssertEqual(code { try pack(.fresh) }, "packing_occupied")
    var other = DataTree.recipe
    other.seconds = 0.3
    XCTAssertEqual(code { try pack(.resume, other) }, "packing_changed")
    try tree.write("audio/f_ANG.wav", sound)
    XCTAssertNil(code { try pack(.resume) })
    XCTAssertEqual(try PackedFolder(tree.output()).problems(), [])
  }
}
