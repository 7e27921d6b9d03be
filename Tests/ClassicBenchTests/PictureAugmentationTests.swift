import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import ClassicBench

/// Random crops and mirroring: the same for all frames of a sample, for any batch, and for a resumed run.
final class PictureAugmentationTests: XCTestCase {
  private func bytes(_ count: Int, seed: Int) -> [UInt8] {
    var stream = RandomStream(seed: seed, purpose: "pixels")
    return (0..<count).map { _ in UInt8(truncatingIfNeeded: stream.next()) }
  }

  /// Samples whose three frames are the same picture.
  private func rows(_ count: Int, channels: Int = 3) throws -> PackedRows {
    let modality = PackedModality(name: "v", frames: 3, side: 12, channels: channels, inputSide: 8)
    let pictures = (0..<count).flatMap { sample -> [UInt8] in
      let picture = bytes(144 * channels, seed: sample)
      return picture + picture + picture
    }
    let half = count / 2
    let size = 3 * 144 * channels
    let tensors = try [0..<half, half..<count].map { range in
      try StoredTensor(
        name: "v", shape: [range.count, 3, 12, 12, channels],
        bytes: Array(pictures[range.lowerBound * size..<range.upperBound * size]))
    }
    return PackedRows(modality, tensors)
  }

  func testASampleIsTheSameInEveryBatchOfAnEpoch() throws {
    let rows = try rows(6)
    let draw = AugmentationDraw(seed: 1, epoch: 2)
    let all = rows.tensor([0, 1, 2, 3, 4, 5], draw)
    XCTAssertEqual(all.shape, [6, 3, 8, 8, 3])
    for order in [[5, 3], [3], [0, 4, 5, 3]] {
      let some = rows.tensor(order, draw)
      for (place, sample) in order.enumerated() {
        XCTAssertEqual(some.slice(place..<place + 1), all.slice(sample..<sample + 1))
      }
    }
    XCTAssertNotEqual(rows.tensor([3], AugmentationDraw(seed: 1, epoch: 3)), all.slice(3..<4))
    XCTAssertNotEqual(rows.tensor([3], AugmentationDraw(seed: 2, epoch: 2)), all.slice(3..<4))
    XCTAssertNotEqual(rows.tensor([3], nil), all.slice(3..<4))
    XCTAssertEqual(rows.tensor([3], nil), rows.tensor([3, 4], nil).slice(0..<1))
  }

  func testAllFramesOfASampleGetTheSamePart() throws {
    let all = try rows(6).tensor([0, 1, 2, 3, 4, 5], AugmentationDraw(seed: 9, epoch: 0)).hostValues()
    for sample in 0..<6 {
      let frames = (0..<3).map { frame in
        let start = (3 * sample + frame) * 192
        return Array(all[start..<start + 192])
      }
      XCTAssertEqual(frames[0], frames[1])
      XCTAssertEqual(frames[0], frames[2])
    }
  }

  func testMirroringChangesTheSignOfMotionToTheRight() {
    var window = PictureAugmentation.Window()
    window.isMirrored = true
    let flow = PictureTransform(side: 4, channels: 2, inputSide: 4, cropsCentre: false)
    let stored = bytes(32, seed: 3)
    let turned = flow.frame(stored, window)
    for row in 0..<4 {
      for column in 0..<4 {
        let (here, there) = (2 * (4 * row + column), 2 * (4 * row + 3 - column))
        XCTAssertEqual(turned[here], 255 - stored[there], "u")
        XCTAssertEqual(turned[here + 1], stored[there + 1], "v")
      }
    }
    XCTAssertEqual(flow.frame(turned, window), stored, "twice is nothing")
    XCTAssertEqual(flow.frame(stored, nil), stored)
    let color = PictureTransform(side: 4, channels: 3, inputSide: 4, cropsCentre: false)
    let picture = bytes(48, seed: 4)
    let mirrored = color.frame(picture, window)
    XCTAssertEqual(Array(mirrored[0..<3]), Array(picture[9..<12]))
  }

  func testWindowsKeepTheirLimits() {
    let augmentation = PictureAugmentation()
    var mirrored = 0
    for sample in 0..<2000 {
      var stream = AugmentationDraw(seed: 4, epoch: 1).stream(sample)
      let window = augmentation.window(&stream)
      let (area, ratio) = (window.width * window.height, window.width / window.height)
      XCTAssertTrue((0.08 - 1e-9...1 + 1e-9).contains(area), "\(area)")
      XCTAssertTrue((0.75 - 1e-9...4.0 / 3 + 1e-9).contains(ratio), "\(ratio)")
      XCTAssertTrue(window.left >= 0 && window.left + window.width <= 1 + 1e-9)
      XCTAssertTrue(window.top >= 0 && window.top + window.height <= 1 + 1e-9)
      mirrored += window.isMirrored ? 1 : 0
    }
    // Five deviations of a fair coin.
    XCTAssertEqual(Double(mirrored), 1000, accuracy: 112)
    var impossible = PictureAugmentation()
    (impossible.cropScale, impossible.cropRatio) = (1...1, 4...4)
    var stream = AugmentationDraw(seed: 0, epoch: 0).stream(0)
    let window = impossible.window(&stream)
    XCTAssertEqual([window.top, window.left, window.height, window.width], [0.375, 0, 0.25, 1])
  }

  /// Colour, grey and flow of one sample are cut alike, whatever their size.
  func testAllKindsOfPicturesOfASampleAreCutAlike() throws {
    let window = PictureAugmentation.Window(top: 0.25, left: 0.5, height: 0.5, width: 0.5, isMirrored: false)
    for (side, channels) in [(8, 1), (16, 1)] {
      let transform = PictureTransform(
        side: side, channels: channels, inputSide: side / 2, cropsCentre: false)
      let stored = (0..<side * side).map { UInt8($0 % 251) }
      let cut = transform.frame(stored, window)
      XCTAssertEqual(cut.count, side * side / 4)
      XCTAssertEqual(cut[0], stored[side / 4 * side + side / 2])
    }
  }
}
