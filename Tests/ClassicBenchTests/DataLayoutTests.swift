import Foundation
import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import ClassicBench

/// Small data sets of real media in the published layouts, and everything that can be wrong with them.
final class DataLayoutTests: XCTestCase {
  private func ids(_ packed: PackedFolder) -> [[String]] { packed.manifest.splits.map(\.ids) }

  func testCREMADIsPackedAsTheRecipeSays() throws {
    let tree = try DataTree.cremad()
    let packed = try tree.packed(.cremad)
    XCTAssertEqual(packed.manifest.classes, ["NEU", "HAP", "SAD", "FEA", "DIS", "ANG"])
    // One sample of each class of two becomes validation; ids are ordered.
    XCTAssertEqual(ids(packed).map(\.count), [2, 2, 2])
    XCTAssertEqual(ids(packed)[2], ["e_SAD", "f_ANG"])
    XCTAssertEqual(packed.manifest.splits[2].labels, [2, 5])
    XCTAssertEqual(Set(packed.manifest.splits[1].labels), [0, 1])
    XCTAssertEqual(packed.manifest.modalities.map(\.shape), [[257, 13], [2, 20, 20, 3]])
    XCTAssertEqual(try packed.problems(), [])

    // The numbers are those of the files: the sound of e_SAD, and its frames at the middles of two halves of six.
    let media = MediaFiles()
    let file = try SafetensorsFile(path: tree.output().appendingPathComponent("test-00000.safetensors").path)
    let audio = try file.tensor("audio").slice(0..<257 * 13).floats()
    let samples = try media.samples(at: tree.url("audio/e_SAD.wav"), rate: 22_050, seconds: 0.2)
    XCTAssertEqual(audio, LogSpectrogram(seconds: 0.2).features(samples))
    let visual = try file.tensor("visual").bytes()
    for (place, frame) in [2, 5].enumerated() {
      let image = try media.image(at: tree.url("visual/e_SAD/frame_0000\(frame).jpg"))
      let square = Resampling(.bilinear).resized(image, to: Medium.Extent(height: 20, width: 20))
      XCTAssertEqual(Array(visual[place * 1200..<(place + 1) * 1200]), square.pixels)
    }
    // Frames 2 and 6 of the eight of the video.
    let frames = try media.frames(at: tree.url("visual/f_ANG.flv"), indices: [2, 6])
    let first = Resampling(.bilinear).resized(frames[0], to: Medium.Extent(height: 20, width: 20))
    XCTAssertEqual(Array(visual[2400..<3600]), first.pixels)
  }

  func testOrderOfListsAndThreadsChangeNoByte() throws {
    let tree = try DataTree.cremad()
    let first = try tree.packed(.cremad)
    let names = try FileSystem.names(in: first.url.path)
    let before = try names.map { try Data(contentsOf: first.url.appendingPathComponent($0)) }
    try tree.write("train.csv", "d_HAP,HAP\nc_NEU,NEU\na_HAP,HAP\nb_NEU,NEU\n")
    let packer = try DataPacker(tree.listing(.cremad), name: "cremad")
    _ = try packer.pack(to: first.url, mode: .overwrite, threads: 1) { _, _ in }
    XCTAssertEqual(try FileSystem.names(in: first.url.path), names)
    XCTAssertEqual(try names.map { try Data(contentsOf: first.url.appendingPathComponent($0)) }, before)
  }

  func testEveryProblemOfCREMADIsListedAtOnce() throws {
    let tree = try DataTree.cremad()
    try tree.write(
      "train.csv", "a_HAP,HAP\nb_NEU,NEW\nb_NEU,NEU\na_HAP,HAP\nmissing,SAD\nc_NEU,NEU\nnothing\nd_HAP,HAP\n")
    try tree.write("test.csv", "e_SAD,SAD\nf_ANG,ANG\na_HAP,HAP\n")
    try tree.write("audio/c_NEU.wav", DataTree.pointer)
    try tree.remove("audio/d_HAP.wav")
    try tree.write("audio/d_HAP.pt", "x")
    try tree.remove("visual/e_SAD/frame_00001.jpg")
    for index in 3...6 { try tree.remove("visual/e_SAD/frame_0000\(index).jpg") }
    XCTAssertEqual(
      tree.problems(.cremad),
      [
        "unknown_class 2 b_NEU", "duplicate_id 3 b_NEU", "duplicate_id 4 a_HAP", "missing_modality 5 missing",
        "missing_modality 5 missing", "git_lfs_pointer 6 c_NEU", "bad_line 7", "refused_format 8 d_HAP",
        "too_few_frames 1 e_SAD", "split_overlap 3 a_HAP",
      ])
    XCTAssertThrowsError(try DataPacker(tree.listing(.cremad), name: "x")) { error in
      guard case PackingError.problems(_, 10, _, "cremad", false) = error else { return XCTFail("\(error)") }
    }
    try tree.remove("test.csv")
    XCTAssertTrue(tree.problems(.cremad).contains("missing_list"))
  }

  func testARecordingThatEndsEarlyIsFoundByItsHeader() throws {
    let tree = try DataTree.cremad()
    let whole = try Data(contentsOf: tree.url("audio/c_NEU.wav"))
    try tree.write("audio/c_NEU.wav", whole.prefix(1000))
    let problem = try XCTUnwrap(tree.listing(.cremad).problems.first)
    XCTAssertEqual(problem.kind, .unreadable)
    XCTAssertTrue(
      problem.message.contains("ends after 1000 bytes, its header promises \(whole.count)"), problem.message)
    // Video in the same container may say any size: its decoder does not need it.
    try tree.write("audio/c_NEU.wav", whole)
    try tree.remove("visual/c_NEU")
    try tree.write(
      "visual/c_NEU.avi", Data(Array("RIFF".utf8) + [255, 255, 255, 255] + Array("AVI LIST".utf8)))
    XCTAssertEqual(tree.problems(.cremad), [])
  }

  func testIncompleteSamplesAreLeftOutWhereThatIsAskedFor() throws {
    let tree = try DataTree.cremad()
    try tree.remove("audio/c_NEU.wav")
    XCTAssertThrowsError(try DataPacker(tree.listing(.cremad), name: "x")) { error in
      let error = error as? PackingError
      XCTAssertTrue(error?.recoverySuggestion?.contains("--skip-incomplete") ?? false)
    }
    var recipe = DataTree.recipe
    recipe.skipsIncomplete = true
    let packed = try tree.packed(.cremad, recipe)
    XCTAssertFalse(ids(packed).joined().contains("c_NEU"))
    XCTAssertEqual(packed.manifest.recipe["left_out"], .integer(1))
  }

  func testFeaturesOfFilesAreTakenAndChecked() throws {
    let tree = try DataTree.cremad()
    for id in ["a_HAP", "b_NEU", "c_NEU", "d_HAP", "e_SAD", "f_ANG"] {
      try tree.remove("audio/\(id).wav")
      try tree.array("audio/\(id).npy", shape: [1, 9, 7]) { Float($0) }
    }
    let packed = try tree.packed(.cremad)
    XCTAssertEqual(packed.manifest.modalities[0].shape, [9, 7])
    try tree.array("audio/a_HAP.npy", shape: [9, 7]) { $0 == 5 ? .nan : 1 }
    try tree.array("audio/d_HAP.npy", shape: [9, 8]) { _ in 1 }
    try tree.write("audio/c_NEU.npy", "no array")
    XCTAssertEqual(
      tree.problems(.cremad), ["not_finite 2 a_HAP", "wrong_shape 3 d_HAP", "unreadable 4 c_NEU"])
    // Packing meets NaN too, though it does not look for it beforehand.
    for id in ["c_NEU", "d_HAP"] { try tree.array("audio/\(id).npy", shape: [9, 7]) { Float($0) } }
    XCTAssertThrowsError(try tree.packed(.cremad)) { error in
      guard case PackingError.badSample(_, "a_HAP", _) = error else { return XCTFail("\(error)") }
    }
  }

  func testBothFormsOfKineticsSoundsListsAreRead() throws {
    for (train, test) in [
      ("x_1,10,1\ny_2,10,0\nz_3,10,1\nw_4,10,0\n", "v_5,10,1\n"),
      ("x_1.mp4 10 1\ny_2.mp4 10 0\nz_3.mp4 10 1\nw_4.mp4 10 0\n", "v_5.mp4 1\n"),
    ] {
      let tree = try DataTree()
      try tree.write("my_train.txt", train)
      try tree.write("my_test.txt", test)
      for id in ["x_1", "y_2", "z_3", "w_4", "v_5"] {
        try tree.sound("audio/\(id).wav")
        try tree.frames("visual/\(id)", count: 4)
      }
      let packed = try tree.packed(.kineticsSounds)
      XCTAssertEqual(packed.manifest.classes, ["0", "1"])
      XCTAssertEqual(packed.manifest.splits[2].ids, ["v_5"])
      XCTAssertEqual(packed.manifest.modalities.map(\.shape), [[12, 128], [3, 20, 20, 3]])
      try tree.write("classes.txt", "juggling\n")
      XCTAssertTrue(tree.problems(.kineticsSounds).contains("unknown_class 1 x_1"))
    }
  }

  func testVGGSoundTakesClassesFromTheWholeList() throws {
    let tree = try DataTree()
    try tree.write(
      "vggsound.csv",
      "id-a,30,\"waves, sea\",train\nid-b,5,playing piano,test\nid-c,0,playing piano,train\nid-d,7,absent,train\n"
    )
    for (id, isLong) in [("id-a_000030", true), ("id-b_5", false), ("id-c_000000", true)] {
      XCTAssertEqual(id.utf8.count > 8, isLong)
      try tree.sound("audio/\(id).wav")
      try tree.frames("visual/\(id)", count: 4)
    }
    XCTAssertEqual(tree.problems(.vggsound), ["missing_modality 4 id-d_7", "missing_modality 4 id-d_7"])
    let listing = tree.listing(.vggsound)
    XCTAssertEqual(listing.classes, ["absent", "playing piano", "waves, sea"])
    XCTAssertEqual(listing.splits[0].map(\.id), ["id-a_000030", "id-c_000000"])
    XCTAssertEqual(listing.splits[0].map(\.label), [2, 1])
    XCTAssertEqual(listing.splits[2].map(\.id), ["id-b_5"])
  }

  func testBalancedAVReadsItsAnnotationsAndRefusesPickles() throws {
    let tree = try DataTree()
    let entries = [
      "p": ("training", "dog"), "q": ("testing", "cat"), "r": ("training", "dog"), "s": ("training", "cow"),
    ]
    let database = entries.sorted { $0.key < $1.key }.map { id, entry in
      #""\#(id)": {"subset": "\#(entry.0)", "\#(id == "p" ? "annotations" : "label")": "#
        + (id == "p" ? #"{"label": "\#(entry.1)"}}"# : #""\#(entry.1)"}"#)
    }
    try tree.write(
      "balance.json", #"{"labels": ["dog", "cat"], "database": {\#(database.joined(separator: ", "))}}"#)
    for id in ["p", "q", "s"] {
      try tree.sound("audio/\(id).wav")
      try tree.frames("visual/\(id)", count: 3)
    }
    try tree.write("audio/r.pkl", "x")
    try tree.write("visual/r.hdf5", "x")
    XCTAssertEqual(
      tree.problems(.balancedav), ["refused_format r", "refused_format r", "unknown_class s"])
    XCTAssertEqual(tree.listing(.balancedav).classes, ["cat", "dog"])
    try tree.write("second.json", "{}")
    XCTAssertEqual(tree.problems(.balancedav), ["missing_list"])
  }

  private func ucf101() throws -> DataTree {
    let tree = try DataTree()
    try tree.write("classInd.txt", "1 Archery\n2 Bowling\n")
    let names = ["Archery/v_Archery_g01_c01", "Bowling/v_Bowling_g01_c01", "Archery/v_Archery_g02_c01"]
    try tree.write(
      "trainlist01.txt", names.map { "\($0).avi \($0.hasPrefix("A") ? 1 : 2)" }.joined(separator: "\n"))
    try tree.write("testlist01.txt", "Bowling/v_Bowling_g07_c01.avi\n")
    for name in names + ["Bowling/v_Bowling_g07_c01"] {
      let id = String(name.split(separator: "/")[1])
      if id == "v_Archery_g01_c01" {
        try tree.write("visual/\(id).avi", try XCTUnwrap(DataTree.videos["avi"]))
      } else {
        try tree.frames("visual/\(id)", count: 6)
      }
      try tree.frames("flow/u/\(id)", count: 5)
      try tree.frames("flow/v/\(id)", count: 5, from: 3)
    }
    return tree
  }

  func testUCF101HasFramesAndFlow() throws {
    let tree = try ucf101()
    let packed = try tree.packed(.ucf101)
    XCTAssertEqual(packed.manifest.classes, ["Archery", "Bowling"])
    XCTAssertEqual(packed.manifest.modalities.map(\.shape), [[3, 20, 20, 3], [3, 20, 20, 2]])
    XCTAssertEqual(packed.manifest.splits[2].ids, ["v_Bowling_g07_c01"])
    let file = try SafetensorsFile(path: tree.output().appendingPathComponent("test-00000.safetensors").path)
    let flow = try file.tensor("flow").bytes()
    // The middles of three segments of five pictures: the first, third and fifth.
    let media = MediaFiles()
    let size = Medium.Extent(height: 20, width: 20)
    for (place, frame) in [1, 3, 5].enumerated() {
      for (channel, axis) in ["u", "v"].enumerated() {
        let image = try media.image(at: tree.url("flow/\(axis)/v_Bowling_g07_c01/frame_0000\(frame).jpg"))
        let red = Resampling(.bilinear).resized(image, to: size).pixels
        for pixel in 0..<400 {
          XCTAssertEqual(flow[place * 800 + 2 * pixel + channel], red[3 * pixel])
        }
      }
    }
    try tree.remove("flow/v/v_Bowling_g07_c01/frame_00003.jpg")
    try tree.frames("flow/v/v_Archery_g02_c01", count: 7)
    try tree.write("testlist01.txt", "Bowling/v_Bowling_g07_c01.avi\nCurling/v_Curling_g01_c01.avi\n")
    XCTAssertEqual(
      tree.problems(.ucf101),
      [
        "too_few_frames 3 v_Archery_g02_c01", "too_few_frames 1 v_Bowling_g07_c01",
        "unknown_class 2 v_Curling_g01_c01", "missing_modality 2 v_Curling_g01_c01",
        "missing_modality 2 v_Curling_g01_c01", "missing_modality 2 v_Curling_g01_c01",
      ])
  }

  func testFood101KeepsTitlesAsText() throws {
    let tree = try DataTree()
    let header = "text,label,Image_path\n"
    try tree.write(
      "texts/train_titles.csv",
      header + "\"RT Best #apple pie, ever http://x.org/y\",pie,pie_1.jpg\nMiso soup,soup,soup_1.jpg\n"
        + "Pie again,pie,pie_2.jpg\nMore soup,soup,soup_2.jpg\n")
    try tree.write("texts/test_titles.csv", "pie_3.jpg,A \"quoted\" pie,pie\n")
    for name in [
      "train/pie/pie_1", "train/soup/soup_1", "train/pie/pie_2", "train/soup/soup_2", "test/pie/pie_3",
    ] {
      try tree.write("images/\(name).jpg", DataTree.pictures[0])
    }
    let packed = try tree.packed(.food101)
    XCTAssertEqual(packed.manifest.classes, ["pie", "soup"])
    XCTAssertEqual(packed.manifest.modalities.map(\.kind), [.text, .pictures])
    let file = try SafetensorsFile(path: tree.output().appendingPathComponent("test-00000.safetensors").path)
    XCTAssertEqual(String(decoding: try file.tensor("text").bytes(), as: UTF8.self), "A \"quoted\" pie")
    XCTAssertEqual(try file.tensor("text.offsets").integers(), [0, 14])
    XCTAssertEqual(Food101Layout.cleaned("RT Best #apple pie, ever http://x.org/y"), "Best apple pie, ever")
    XCTAssertThrowsError(try packed.data([.text])) { error in
      XCTAssertEqual((error as? PackedDataError)?.code, .noEncoder)
    }
    try tree.remove("images/test/pie/pie_3.jpg")
    XCTAssertEqual(tree.problems(.food101), ["missing_modality 1 pie/pie_3.jpg"])
  }

  /// CMU-MOSEI of eight samples.
  static func mosei(_ change: (String, Int) -> Float? = { _, _ in nil }) throws -> DataTree {
    let tree = try DataTree()
    for (split, count) in [("train", 4), ("valid", 2), ("test", 2)] {
      var arrays = [
        try StoredTensor(name: "labels", shape: [count, 1, 1], floats: (0..<count).map { Float($0) - 1 })
      ]
      for (name, width) in [("text", 5), ("audio", 3), ("vision", 2)] {
        // Steps 0 and 3 of four are padding.
        let values = (0..<count * 4 * width).map { index -> Float in
          if split == "train", let value = change(name, index) { return value }
          let step = index / width % 4
          return step == 0 || step == 3 ? 0 : Float(index + 1)
        }
        arrays.append(try StoredTensor(name: name, shape: [count, 4, width], floats: values))
      }
      try NPZArchive.write(arrays, to: tree.url("\(split).npz").path)
    }
    return tree
  }

  func testMOSEIIsPackedAsSequencesWithoutPadding() throws {
    // −∞ in audio is silence.
    let tree = try Self.mosei { name, index in name == "audio" && index == 4 ? -.infinity : nil }
    try tree.write("test.ids.txt", "clip[1]\nclip[2]\n")
    let packed = try tree.packed(.mosei)
    XCTAssertEqual(packed.manifest.classes, ["negative", "positive"])
    XCTAssertEqual(packed.manifest.splits.map(\.ids.count), [4, 2, 2])
    XCTAssertEqual(packed.manifest.splits[0].labels, [0, 1, 1, 1])
    XCTAssertEqual(packed.manifest.splits[2].ids, ["clip[1]", "clip[2]"])
    let file = try SafetensorsFile(path: tree.output().appendingPathComponent("train-00000.safetensors").path)
    XCTAssertEqual(try file.tensor("audio").shape, [8, 3])
    XCTAssertEqual(try file.tensor("audio.offsets").integers(), [0, 2, 4, 6, 8])
    XCTAssertEqual(try Array(file.tensor("audio").floats().prefix(6)), [4, 0, 6, 7, 8, 9])
    var recipe = DataTree.recipe
    recipe.sentimentClasses = 3
    XCTAssertEqual(tree.listing(.mosei, recipe).splits[0].map(\.label), [0, 1, 2, 2])
    XCTAssertEqual(
      (-7...7).map { MOSEILayout.label(Double($0) / 2, classes: 7) },
      [0, 0, 1, 1, 1, 2, 3, 3, 3, 4, 5, 5, 5, 6, 6])
  }

  func testMOSEIProblems() throws {
    XCTAssertEqual(
      try Self.mosei { name, index in name == "text" && index == 7 ? .nan : nil }.problems(.mosei),
      ["not_finite train-0"])
    let tree = try Self.mosei()
    try tree.remove("train.npz")
    XCTAssertEqual(tree.problems(.mosei), ["missing_list"])
    try tree.write("mosei_senti_data.pkl", "x")
    XCTAssertEqual(tree.problems(.mosei), ["refused_format"])
    try tree.write("train.npz", DataTree.pointer)
    XCTAssertEqual(tree.problems(.mosei), ["git_lfs_pointer"])
    try NPZArchive.write(
      [
        try StoredTensor(name: "labels", shape: [2], floats: [0, 1]),
        try StoredTensor(name: "text", shape: [3, 4, 5], floats: [Float](repeating: 1, count: 60)),
        try StoredTensor(name: "audio", shape: [2, 1, 1], floats: [1, 1]),
        try StoredTensor(name: "vision", shape: [2, 1, 1], floats: [1, 1]),
      ], to: tree.url("train.npz").path)
    XCTAssertEqual(tree.problems(.mosei).first, "wrong_shape")
  }

  func testBrokenMediaAreFoundByDecoding() throws {
    let tree = try DataTree.cremad()
    try tree.write("audio/a_HAP.wav", "no RIFF and nothing")
    try tree.write("visual/b_NEU/frame_00001.jpg", DataTree.pictures[0].prefix(300))
    XCTAssertEqual(tree.problems(.cremad), [])
    let problems = tree.listing(.cremad).problems(decodes: true)
    XCTAssertEqual(
      Set(problems.map { "\($0.kind.rawValue) \($0.sample ?? "")" }),
      ["unreadable a_HAP", "unreadable b_NEU"])
  }

  /// A list cannot name files outside of the folder, and a quote cannot swallow the rest of it.
  func testListsStayInTheirFolder() throws {
    let tree = try DataTree.cremad()
    try tree.array("../outside.npy", shape: [4, 3]) { Float($0) }
    let list = try String(contentsOf: tree.url("train.csv"), encoding: .utf8)
    try tree.write("train.csv", list + "../../outside,HAP\n")
    XCTAssertEqual(
      tree.problems(.cremad).count { $0.hasPrefix("missing_modality") && $0.hasSuffix("../../outside") }, 2)
    try tree.write("train.csv", list + "\"x,HAP\ny,SAD\n")
    XCTAssertTrue(tree.problems(.cremad).contains { $0.hasPrefix("bad_line") })
  }

  func testListsOfBothFormsKeepTheirLines() {
    let (rows, openQuote) = ListFile.rows(of: Array("a,b\r\n\n\"c,\nd\",\"e \"\"f\"\"\"\ng h\ti\n".utf8))
    XCTAssertEqual(rows.map(\.line), [1, 3, 5])
    XCTAssertNil(openQuote)
    // All that follows is in the quote.
    let open = ListFile.rows(of: Array("a,b\nc,\"d\ne,f\n".utf8))
    XCTAssertEqual(open.rows.count, 2)
    XCTAssertEqual(open.openQuote, 2)
    XCTAssertEqual(rows.map(\.fields), [["a", "b"], ["c, d", "e \"f\""], ["g", "h", "i"]])
    XCTAssertEqual(
      ["f10", "f9", "f09", "f1", "g"].sorted(by: precedesNaturally), ["f1", "f09", "f9", "f10", "g"])
    XCTAssertEqual(SourceLister.middles(of: 10, count: 3), [1, 5, 8])
  }

  func testTheValidationSplitIsASeededShareOfEveryClass() {
    let labels = (0..<200).map { $0 % 4 == 0 ? 1 : 0 } + [2]
    let taken = SourceLister.validation(labels, share: 0.1, seed: 3)
    XCTAssertEqual(taken.count { labels[$0] == 0 }, 15)
    XCTAssertEqual(taken.count { labels[$0] == 1 }, 5)
    XCTAssertEqual(taken.count { labels[$0] == 2 }, 0)
    XCTAssertEqual(taken, SourceLister.validation(labels, share: 0.1, seed: 3))
    XCTAssertNotEqual(taken, SourceLister.validation(labels, share: 0.1, seed: 4))
  }
}
