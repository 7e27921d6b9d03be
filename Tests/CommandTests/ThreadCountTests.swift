import Foundation
import TokenModel
import XCTest

@testable import TensorCore

/// The same bytes for any `--threads`, at sizes where every kernel has several pieces of work to give out.
final class ThreadCountTests: XCTestCase {
  private static let tokenCount = 700
  private static let threads = ["1", "2", "3", "5"]

  /// What follows proves nothing about kernels that leave all work to one thread.
  func testEveryKernelSplitsAtTheSizesOfTheseTests() {
    let rows = Self.tokenCount
    XCTAssertGreaterThan(rows, Kernels.tileRows, "rows of a product")
    XCTAssertGreaterThan(RandomLLaMA.innerSize, 2 * Kernels.tileColumns, "columns of a product")
    XCTAssertGreaterThanOrEqual(
      rows, 10 * Kernels.rowsPerChunk(columns: RandomLLaMA.hiddenSize), "rows of a norm")
    XCTAssertGreaterThan(
      rows * RandomLLaMA.innerSize, 10 * Kernels.elementsPerChunk, "elements of an activation")
    XCTAssertGreaterThan(rows, 5 * ForwardOptions().queryBlock, "queries of attention")
  }

  func testResultsAreTheSameBytes() throws {
    let folder = try TemporaryFolder()
    let model = try RandomLLaMA(in: folder)
    let data = try model.data(records: 2, tokens: Self.tokenCount, in: folder)
    for threads in Self.threads {
      try Program.succeed([
        "attention", model.path, "--data", data, "--queries", "all", "--exclude-sinks", "auto",
        "--replicates", "50",
        "-q", "--threads", threads, "-o", folder.path(threads),
      ])
    }
    let names = try FileManager.default.subpathsOfDirectory(atPath: folder.path("1")).filter {
      !["tables", "run.json", ".mmprobe-lock", "log.txt"].contains($0)
    }
    XCTAssertTrue(names.contains("result.json"))
    for threads in Self.threads.dropFirst() {
      for name in names {
        XCTAssertTrue(
          FileManager.default.contentsEqual(
            atPath: "\(folder.path("1"))/\(name)", andPath: "\(folder.path(threads))/\(name)"),
          "\(name) with \(threads) threads")
      }
    }
  }

  func testTracesAreTheSameBytes() throws {
    let folder = try TemporaryFolder()
    let model = try RandomLLaMA(in: folder)
    // The second sequence is shorter and padded in front.
    let (width, padding) = (Self.tokenCount, 60)
    let ids = (0..<2 * width).map { ($0 * 131 + 7) % 512 }
    let mask = (0..<2 * width).map { $0 >= width && $0 < width + padding ? 0 : 1 }
    try SafetensorsWriter.write(
      tensors: [
        try StoredTensor(name: "input_ids", shape: [2, width], integers: ids),
        try StoredTensor(name: "attention_mask", shape: [2, width], integers: mask),
      ], to: folder.path("in.safetensors"))
    for threads in Self.threads {
      try Program.succeed([
        "trace", model.path, "--inputs", folder.path("in.safetensors"), "-o", folder.path(threads), "-q",
        "--threads",
        threads,
      ])
    }
    XCTAssertNotNil(try SafetensorsFile(path: folder.path("1"))["attention.1"])
    for threads in Self.threads.dropFirst() {
      XCTAssertTrue(
        FileManager.default.contentsEqual(atPath: folder.path("1"), andPath: folder.path(threads)),
        "trace with \(threads) threads")
    }
  }
}
