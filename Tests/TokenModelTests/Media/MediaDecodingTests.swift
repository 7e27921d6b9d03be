import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// Files of every common kind, read as the transformers library reads them with Pillow. They need ffmpeg; without it
/// only these tests are left out.
final class MediaDecodingTests: XCTestCase {
  private var images: ImageFile { ImageFile(ffmpeg: FFmpeg()) }
  private var sounds: SoundFile { SoundFile(ffmpeg: FFmpeg()) }

  private func needFFmpeg() throws {
    let ffmpeg = FFmpeg()
    try XCTSkipIf(ffmpeg.decoder == nil || ffmpeg.prober == nil, "ffmpeg is not installed")
  }

  private func file(_ name: String) -> URL { Fixtures.url("media_files/\(name)") }

  /// Everything that loses nothing is equal to the byte, and so is lossy WebP, whose decoding is exact by its
  /// specification. JPEG decoders round the cosine transform in their own ways: 3 levels at most, 0.1 on average. A
  /// CMYK image is multiplied with black in another order, which is up to 2 levels.
  func testPicturesEqualPillow() throws {
    try needFFmpeg()
    let oracle = try OracleCase("media_files")
    for name in oracle.listed {
      let image = try images.image(at: file(name))
      let stored = try oracle.stored(name)
      XCTAssertEqual([image.height, image.width, 3], stored.shape, name)
      let isJPEG = name.hasSuffix(".jpg")
      try oracle.compare(image.pixels.map { Float($0) }, with: name, absolute: isJPEG ? 3 : 0)
      guard isJPEG else { continue }
      let expected = try stored.integers()
      let sum = zip(image.pixels, expected).reduce(0) { $0 + abs(Int($1.0) - $1.1) }
      let mean = Double(sum) / Double(expected.count)
      XCTAssertLessThan(mean, name == "cmyk.jpg" ? 1.1 : 0.1, name)
      print("\(name): \(mean) levels on average")
    }
    oracle.finish()
  }

  /// The name of a file is never an option, a protocol or a pattern.
  func testNamesAreOnlyNames() throws {
    try needFFmpeg()
    let folder = try temporaryFolder()
    let expected = try images.image(at: file("rgb.png"))
    for name in ["-x.png", "http:a.png", "concat:a|b.png", "a%03d.png", "$(id).png", "a b'\".png", "ü\n.png"]
    {
      let url = folder.appendingPathComponent(name)
      try FileManager.default.copyItem(at: file("rgb.png"), to: url)
      XCTAssertEqual(try images.image(at: url), expected, name)
    }
  }

  /// A play list would make the decoder open what it names.
  func testFilesThatNameOtherFilesAreRefused() throws {
    try needFFmpeg()
    let folder = try temporaryFolder()
    let target = file("tone.flac").path
    for (name, text) in [
      ("a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n\(target)\n#EXT-X-ENDLIST\n"),
      ("a.ffconcat", "ffconcat version 1.0\nfile '\(target)'\n"),
      ("a.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"),
    ] {
      let url = folder.appendingPathComponent(name)
      try Data(text.utf8).write(to: url)
      XCTAssertThrowsError(try sounds.samples(at: url, rate: 16_000, seconds: 1), name) {
        XCTAssertEqual(($0 as? MediaError)?.code, .notDecodable, name)
      }
    }
  }

  func testSoundFromAnyFileIsTheSame() throws {
    try needFFmpeg()
    for (name, other) in [("tone.wav", "tone.flac"), ("stereo.wav", "stereo.flac")] {
      let own = try sounds.samples(at: file(name), rate: 16_000, seconds: 30)
      XCTAssertEqual(own, try sounds.samples(at: file(other), rate: 16_000, seconds: 30), other)
      XCTAssertEqual(own.count, (8000 * 16_000 + 22_049) / 22_050)
    }
    let tone = try sounds.samples(at: file("tone.wav"), rate: 22_050, seconds: 30)
    for name in ["tone.mp3", "tone.m4a", "tone.ogg"] {
      let samples = try sounds.samples(at: file(name), rate: 22_050, seconds: 30)
      XCTAssertEqual(Double(samples.count), 8000, accuracy: 3000, name)
      let energy = { (values: [Double]) in values.reduce(0) { $0 + $1 * $1 } / Double(values.count) }
      XCTAssertEqual(energy(samples), energy(tone), accuracy: 0.4 * energy(tone), name)
    }
    // Only as much as is wanted is decoded.
    XCTAssertEqual(try sounds.samples(at: file("tone.flac"), rate: 22_050, seconds: -0.9).count, 2205)
  }

  /// From the file to the numbers, without loss on the way: the reference of the video oracle.
  func testAVideoFileBecomesTheSameNumbers() throws {
    try needFFmpeg()
    let media = try MediaOracle("video_qwen2_vl")
    let set = try XCTUnwrap(media.sets.first { $0.name == "fps" })
    let processor = try XCTUnwrap(try VideoProcessors.processor(set.settings))
    let video = VideoFile(ffmpeg: FFmpeg())
    XCTAssertEqual(try video.facts(of: file("frames.mkv")), VideoFile.Facts(frameCount: 13, rate: 5))
    let medium = try processor.medium(video, at: file("frames.mkv"), identity: "a")
    try media.compare(medium, with: "fps.pixel_values")
    XCTAssertEqual(medium.layout.originalSize, Medium.Extent(height: 31, width: 47))
    XCTAssertEqual(try video.facts(of: file("lossy.mp4")), VideoFile.Facts(frameCount: 13, rate: 5))
    var sizes: [Medium.Extent] = []
    try video.frames(at: file("lossy.mp4"), indices: [0, 5, 12]) { place, frame in
      XCTAssertEqual(place, sizes.count)
      sizes.append(frame.size)
    }
    XCTAssertEqual(sizes, [Medium.Extent](repeating: Medium.Extent(height: 32, width: 64), count: 3))
    XCTAssertThrowsError(try video.frames(at: file("lossy.mp4"), indices: [0, 13]) { _, _ in }) {
      XCTAssertEqual(($0 as? MediaError)?.code, .notDecodable)
    }
  }

  /// What is wrong, the exit status, and a word of the message.
  func testBadInputs() throws {
    try needFFmpeg()
    let folder = try temporaryFolder()
    let make = { (name: String, bytes: [UInt8]) in
      let url = folder.appendingPathComponent(name)
      try Data(bytes).write(to: url)
      return url
    }
    let png = try Fixtures.bytes("media_files/rgb.png")
    // Not a promise that can be kept: 30,000 by 30,000 pixels, and nothing after the header.
    let huge = Array(png[..<16]) + [0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30] + Array(png[24..<33])
    let bmp = try Fixtures.bytes("media_files/rgb.bmp")
    let hugeBMP = Array(bmp[..<18]) + [0x30, 0x75, 0, 0, 0x30, 0x75, 0, 0] + Array(bmp[26...])
    let cut = { (name: String) in
      let bytes = try Fixtures.bytes("media_files/\(name)")
      return Array(bytes[..<(bytes.count / 2)])
    }
    // RIFF's 32-bit sizes hold 10 hours of 8-bit sound at 48 kHz, and nothing follows.
    var hours = WAVBytes(sampleRate: 48_000, bits: 8, data: []).bytes
    let count = 10 * 3600 * 48_000
    hours.replaceSubrange(4..<8, with: WAVBytes.number(36 + count, 4))
    hours.replaceSubrange(40..<44, with: WAVBytes.number(count, 4))
    // A total of samples that FLAC's header may promise.
    var flac = try Fixtures.bytes("media_files/tone.flac")
    let total = 10 * 3600 * 22_050
    for (index, place) in (22..<26).enumerated() {
      flac[place] = UInt8(truncatingIfNeeded: total >> (24 - 8 * index))
    }
    let cases: [(Modality, URL, ExitStatus, String)] = [
      (.image, try make("empty.png", []), .data, "the file is empty"),
      (.image, try make("huge.png", huge), .data, "900000000 pixels"),
      (.image, try make("huge.ppm", Array("P6 30000 30000 255\n".utf8)), .data, "900000000 pixels"),
      (.image, try make("huge.bmp", hugeBMP), .data, "more than 100000000 pixels"),
      (.image, try make("text.png", Array("this is no picture\n".utf8)), .data, "cannot be decoded"),
      (.image, try make("cut.png", cut("rgb.png")), .data, "cannot be decoded"),
      (.image, try make("cut.jpg", cut("420.jpg")), .data, "cannot be decoded"),
      (.image, try make("cut.webp", cut("lossless.webp")), .data, "cannot be decoded"),
      (.image, try make("cut.gif", cut("palette.gif")), .data, "cannot be decoded"),
      (.image, file("gray16.png"), .unsupported, "more than 8 bits"),
      (.image, file("tone.flac"), .data, "another kind of file"),
      (.image, folder, .missingInput, "folder"),
      (.image, folder.appendingPathComponent("none.png"), .missingInput, "none.png"),
      (.image, URL(fileURLWithPath: "/dev/zero"), .missingInput, "/dev/zero"),
      (.audio, try make("empty.mp3", []), .data, "the file is empty"),
      (.audio, try make("text.mp3", Array("this is no sound\n".utf8)), .data, "cannot be decoded"),
      (.audio, try make("hours.wav", hours), .data, "found 36000 seconds"),
      (.audio, try make("hours.flac", flac), .data, "36000 seconds"),
      (.audio, file("rgb.png"), .data, "another kind of file"),
      (.audio, folder.appendingPathComponent("none.wav"), .missingInput, "none.wav"),
      (.video, try make("empty.mp4", []), .data, "the file is empty"),
      (.video, try make("text.mp4", Array("this is no video\n".utf8)), .data, "cannot be decoded"),
      (.video, try make("cut.mp4", cut("lossy.mp4")), .data, "cannot be decoded"),
      (.video, file("tone.m4a"), .data, "has no video"),
      (.video, folder, .missingInput, "folder"),
    ]
    let sampler = MemorySampler()
    for (modality, url, status, words) in cases {
      XCTAssertThrowsError(try read(modality, url), url.lastPathComponent) { error in
        guard let described = error as? any DescribedError else {
          return XCTFail("\(url.lastPathComponent): \(error)")
        }
        let text = described.errorDescription ?? ""
        XCTAssertEqual(described.exitStatus, status, "\(url.lastPathComponent): \(text)")
        XCTAssertTrue(text.contains(words), "\(url.lastPathComponent): \(text)")
        XCTAssertTrue(text.contains(url.lastPathComponent), text)
        XCTAssertFalse((described.recoverySuggestion ?? "").isEmpty, text)
        print(
          "\(url.lastPathComponent): exit \(status.rawValue): \(text.replacingOccurrences(of: url.path, with: url.lastPathComponent))"
        )
      }
    }
    XCTAssertLessThan(sampler.stop().growth, 256 << 20, "bytes taken for files that are refused")
  }

  private func read(_ modality: Modality, _ url: URL, _ ffmpeg: FFmpeg = FFmpeg()) throws {
    switch modality {
    case .image: _ = try ImageFile(ffmpeg: ffmpeg).image(at: url)
    case .audio: _ = try SoundFile(ffmpeg: ffmpeg).samples(at: url, rate: 16_000, seconds: 30)
    default: _ = try VideoFile(ffmpeg: ffmpeg).facts(of: url)
    }
  }

  /// Needs no ffmpeg.
  func testWithoutFFmpegTheErrorNamesThePackage() throws {
    let none = FFmpeg(decoder: nil, prober: nil)
    for (modality, name) in [
      (Modality.image, "rgb.png"), (.image, "420.jpg"), (.audio, "tone.flac"), (.video, "lossy.mp4"),
    ] {
      XCTAssertThrowsError(try read(modality, file(name), none)) {
        XCTAssertEqual(($0 as? DecoderError)?.exitStatus, .unsupported)
        XCTAssertEqual(($0 as? DecoderError)?.recoverySuggestion, "install it: 'apt install ffmpeg'")
        XCTAssertEqual(($0 as? DecoderError)?.path, self.file(name).path)
      }
    }
    XCTAssertEqual(
      try SoundFile(ffmpeg: none).samples(at: file("tone.wav"), rate: 22_050, seconds: 30).count, 8000)
  }

  /// A decoder that is killed, or that writes without end.
  func testADecoderThatIsEndedIsNoFaultOfTheFile() throws {
    let folder = try temporaryFolder()
    let program = { (name: String, text: String) in
      let url = folder.appendingPathComponent(name)
      try Data("#!/bin/sh\n\(text)\n".utf8).write(to: url)
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: url.path)
      return url.path
    }
    let killed = FFmpeg(decoder: try program("killed", "printf abc; kill -9 $$"), prober: nil)
    XCTAssertThrowsError(try read(.image, file("420.jpg"), killed)) {
      XCTAssertEqual(
        $0 as? DecoderError, .killed(path: self.file("420.jpg").path, program: "ffmpeg", signal: 9))
      XCTAssertEqual(($0 as? DecoderError)?.exitStatus, .inputOutput)
    }
    let endless = FFmpeg(decoder: try program("endless", "exec cat /dev/zero"), prober: nil)
    let sampler = MemorySampler()
    XCTAssertThrowsError(try read(.image, file("420.jpg"), endless)) {
      XCTAssertEqual(($0 as? MediaError)?.code, .tooLarge)
    }
    XCTAssertLessThan(sampler.stop().growth, 64 << 20)
  }

  func testEveryDecoderErrorSaysWhatToDo() throws {
    let errors: [DecoderError] = [
      .notInstalled(path: "p", program: "f"), .killed(path: "p", program: "f", signal: 9),
      .tooSlow(path: "p", program: "f", seconds: 1),
    ]
    XCTAssertEqual(Set(errors.map(\.code)), Set(DecoderError.Code.allCases))
    for error in errors {
      XCTAssertTrue(try XCTUnwrap(error.errorDescription).hasPrefix("p: "))
      XCTAssertFalse(try XCTUnwrap(error.recoverySuggestion).isEmpty)
      XCTAssertEqual(error.path, "p")
    }
  }

  private func temporaryFolder() throws -> URL {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("media-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    addTeardownBlock { try? FileManager.default.removeItem(at: url) }
    return url
  }
}
