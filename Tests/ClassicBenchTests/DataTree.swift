import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import ClassicBench

/// A small data set on disk, made by a test of real media.
final class DataTree {
  private let directory: TemporaryDirectory
  let folder: URL

  init() throws {
    directory = try TemporaryDirectory()
    folder = URL(fileURLWithPath: directory.path).appendingPathComponent("data").standardizedFileURL
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  }

  /// A place beside the data.
  func output(_ name: String = "packed") -> URL {
    URL(fileURLWithPath: directory.path).appendingPathComponent(name, isDirectory: true)
  }

  func url(_ name: String) -> URL { folder.appendingPathComponent(name) }

  func write(_ name: String, _ data: Data) throws {
    let url = url(name)
    try FileManager.default.createDirectory(
      at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try data.write(to: url)
  }

  func write(_ name: String, _ text: String) throws { try write(name, Data(text.utf8)) }
  func remove(_ name: String) throws { try FileManager.default.removeItem(at: url(name)) }

  /// A recording of 16 bits with a tone.
  func sound(_ name: String, tone: Double = 440, rate: Int = 16_000, seconds: Double = 0.4) throws {
    let count = Int(seconds * Double(rate))
    var bytes: [UInt8] = Array("RIFF".utf8)
    func append(_ value: Int, _ size: Int) {
      for index in 0..<size { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * index))) }
    }
    append(36 + 2 * count, 4)
    bytes += Array("WAVEfmt ".utf8)
    append(16, 4)
    append(1, 2)
    append(1, 2)
    append(rate, 4)
    append(2 * rate, 4)
    append(2, 2)
    append(16, 2)
    bytes += Array("data".utf8)
    append(2 * count, 4)
    for index in 0..<count {
      append(Int(9000 * sin(2 * Double.pi * tone * Double(index) / Double(rate))), 2)
    }
    try write(name, Data(bytes))
  }

  /// Features as NumPy writes them.
  func array(_ name: String, shape: [Int], _ value: (Int) -> Float) throws {
    let count = shape.reduce(1, *)
    let tensor = try StoredTensor(name: "a", shape: shape, floats: (0..<count).map(value))
    let url = url(name)
    try FileManager.default.createDirectory(
      at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try NPYFile.write(tensor, to: url.path)
  }

  /// Frames `frame_00001.jpg` and so on.
  func frames(_ name: String, count: Int, from first: Int = 0, digits: Int = 5) throws {
    for index in 0..<count {
      let number = String(index + 1)
      let padded = String(repeating: "0", count: max(0, digits - number.count)) + number
      try write("\(name)/frame_\(padded).jpg", Self.pictures[(first + index) % Self.pictures.count])
    }
  }

  /// Eight JPEG files of 48 x 36 pixels that differ.
  static let pictures: [Data] = media(["-frames:v", "8", "p%d.jpg"], (1...8).map { "p\($0).jpg" })
  /// Eight frames in files of video.
  static let videos: [String: Data] = [
    "flv": media(["-frames:v", "8", "-c:v", "flv", "v.flv"], ["v.flv"])[0],
    "avi": media(["-frames:v", "8", "-c:v", "mpeg4", "v.avi"], ["v.avi"])[0],
    "mp4": media(["-frames:v", "8", "-c:v", "mpeg4", "v.mp4"], ["v.mp4"])[0],
  ]

  /// What ffmpeg makes of its moving test picture.
  private static func media(_ words: [String], _ names: [String]) -> [Data] {
    do {
      let directory = try TemporaryDirectory()
      let process = Process()
      process.executableURL = URL(fileURLWithPath: try XCTUnwrap(MachineFacts.program("ffmpeg")))
      process.currentDirectoryURL = URL(fileURLWithPath: directory.path)
      process.arguments =
        ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=48x36:rate=4"] + words
      process.standardInput = FileHandle.nullDevice
      try process.run()
      process.waitUntilExit()
      return try names.map { try Data(contentsOf: URL(fileURLWithPath: directory.path + "/" + $0)) }
    } catch {
      XCTFail("ffmpeg makes the media of these tests: \(error)")
      return names.map { _ in Data() }
    }
  }

  static let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"

  /// Small pictures and short sounds.
  static var recipe: DataRecipe {
    var recipe = DataRecipe()
    (recipe.side, recipe.inputSide, recipe.soundFrames, recipe.seconds) = (20, 16, 12, 0.2)
    return recipe
  }

  /// Lists without reading features.
  func listing(_ layout: DataLayout, _ recipe: DataRecipe = DataTree.recipe, checks: Bool = false)
    -> DataListing
  {
    layout.listing(of: folder, recipe, readsFeatures: checks)
  }

  /// Lists, packs and opens.
  func packed(_ layout: DataLayout, _ recipe: DataRecipe = DataTree.recipe) throws -> PackedFolder {
    let packer = try DataPacker(listing(layout, recipe), name: layout.rawValue)
    guard
      case .complete(let folder) = try packer.pack(
        to: output(), mode: .overwrite, threads: 2, progress: { _, _ in })
    else { throw CocoaError(.userCancelled) }
    return folder
  }

  /// What `check` says: kind, line and sample of each problem.
  func problems(_ layout: DataLayout, _ recipe: DataRecipe = DataTree.recipe) -> [String] {
    listing(layout, recipe, checks: true).problems.map { problem in
      [problem.kind.rawValue, problem.line.map(String.init), problem.sample].compactMap { $0 }
        .joined(separator: " ")
    }
  }
}

extension DataTree {
  /// CREMA-D with recordings, features, frames and a video.
  static func cremad() throws -> DataTree {
    let tree = try DataTree()
    try tree.write("train.csv", "\u{FEFF}b_NEU,NEU\r\na_HAP,HAP\r\nd_HAP,HAP\r\nc_NEU,NEU\r\n")
    try tree.write("test.csv", "e_SAD,SAD\nf_ANG,ANG\n")
    for (index, id) in ["a_HAP", "b_NEU", "c_NEU", "d_HAP", "e_SAD", "f_ANG"].enumerated() {
      try tree.sound("audio/\(id).wav", tone: 300 + 100 * Double(index))
      if id == "f_ANG" {
        try tree.write("visual/\(id).flv", try XCTUnwrap(videos["flv"]))
      } else {
        try tree.frames("visual/\(id)", count: 2 + index, from: index)
      }
    }
    return tree
  }
}
