import Foundation
import TensorCore
import XCTest

final class ShardedTensorsFileTests: XCTestCase {
  private var root = ""
  private var folder: String { "\(root)/model" }

  override func setUpWithError() throws {
    root = NSTemporaryDirectory() + "shards-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  }

  override func tearDownWithError() throws {
    try FileManager.default.removeItem(atPath: root)
  }

  private func write(_ names: [String], to path: String) throws {
    try SafetensorsWriter.write(
      tensors: names.map { try StoredTensor(name: $0, shape: [2], bytes: [1, 2]) }, to: path)
  }

  private func writeIndex(_ text: String) throws {
    try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/model.safetensors.index.json"))
  }

  /// Two shards with `a` in the first and `b` in the second.
  private func writeShards() throws {
    try write(["a"], to: "\(folder)/one.safetensors")
    try write(["b"], to: "\(folder)/two.safetensors")
  }

  private func assertRefused(_ expected: ShardedTensorsError.Code, index: String, line: UInt = #line) throws {
    try writeIndex(index)
    XCTAssertThrowsError(try ShardedTensors(folder: folder), line: line) {
      XCTAssertEqual(($0 as? ShardedTensorsError)?.code, expected, $0.localizedDescription, line: line)
    }
  }

  private let goodMap = #""weight_map": {"a": "one.safetensors", "b": "two.safetensors"}"#

  func testTensorsOfAllShardsAreFoundByName() throws {
    try writeShards()
    try writeIndex(#"{"metadata": {"total_size": 4.0, "total_parameters": 4}, \#(goodMap)}"#)
    let model = try ShardedTensors(folder: folder)
    XCTAssertEqual(model.names, ["a", "b"])
    XCTAssertEqual(model.files.count, 2)
    XCTAssertEqual(try model.tensor("b").bytes(), [1, 2])
    XCTAssertThrowsError(try model.tensor("c"))
  }

  func testTheSingleFileIsTakenBeforeAnIndex() throws {
    try write(["single"], to: "\(folder)/model.safetensors")
    try writeIndex("not read")
    XCTAssertEqual(try ShardedTensors(folder: folder).names, ["single"])
    XCTAssertThrowsError(try ShardedTensors(folder: folder, baseName: "adapter_model")) {
      XCTAssertEqual(($0 as? ShardedTensorsError)?.code, .noWeights)
    }
  }

  func testEveryFaultOfAnIndexHasItsCode() throws {
    try writeShards()
    try write(["a", "b"], to: "\(folder)/both.safetensors")
    try assertRefused(.indexNotJSON, index: "{")
    try assertRefused(.noWeightMap, index: "{}")
    try assertRefused(.noWeightMap, index: #"{"weight_map": {}}"#)
    try assertRefused(.badTotalSize, index: #"{"metadata": {"total_size": "4"}, \#(goodMap)}"#)
    try assertRefused(.badEntry, index: #"{"weight_map": {"a": 1}}"#)
    try assertRefused(.missingShard, index: #"{"weight_map": {"a": "three.safetensors"}}"#)
    try assertRefused(
      .missingTensor, index: #"{"weight_map": {"a": "one.safetensors", "x": "two.safetensors"}}"#)
    try assertRefused(.unlistedTensor, index: #"{"weight_map": {"a": "both.safetensors"}}"#)
    try assertRefused(
      .duplicateTensor, index: #"{"weight_map": {"a": "one.safetensors", "b": "both.safetensors"}}"#)
  }

  func testShardNamesCannotLeadOutOfTheFolder() throws {
    try write(["a"], to: "\(root)/outside.safetensors")
    let names = [
      "../outside.safetensors", "..", ".", "", "\(root)/outside.safetensors", "sub/one.safetensors",
      "..\\\\outside.safetensors", "C:one", "one\\u0000.safetensors", String(repeating: "x", count: 256),
    ]
    for name in names {
      try assertRefused(.shardNotAName, index: #"{"weight_map": {"a": "\#(name)"}}"#)
    }
  }

  func testALinkOutOfTheFolderIsRefused() throws {
    try write(["a"], to: "\(root)/outside.safetensors")
    try FileManager.default.createSymbolicLink(
      atPath: "\(folder)/one.safetensors", withDestinationPath: "../outside.safetensors")
    try assertRefused(.shardOutsideFolder, index: #"{"weight_map": {"a": "one.safetensors"}}"#)
  }

  /// The download cache of the Hugging Face Hub links from `snapshots/<revision>` to `blobs`.
  func testTheLinksOfADownloadCacheAreFollowed() throws {
    let snapshot = "\(root)/snapshots/0123"
    for path in [snapshot, "\(root)/blobs"] {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }
    try write(["a"], to: "\(root)/blobs/beef")
    try FileManager.default.createSymbolicLink(
      atPath: "\(snapshot)/one.safetensors", withDestinationPath: "../../blobs/beef")
    let index = #"{"weight_map": {"a": "one.safetensors"}}"#
    try Data(index.utf8).write(to: URL(fileURLWithPath: "\(snapshot)/model.safetensors.index.json"))
    XCTAssertEqual(try ShardedTensors(folder: snapshot).names, ["a"])
  }
}
