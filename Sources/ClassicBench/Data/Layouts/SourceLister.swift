import Foundation
import RunKit
import TensorCore
import TokenModel

/// Collects the samples of a data set and everything that is wrong with it; nothing is thrown for a single sample.
final class SourceLister {
  /// Where a sample is named.
  struct Place {
    let path: String
    let line: Int?
  }

  static let pictureEndings = ["jpg", "jpeg", "png", "bmp", "webp", "ppm", "pgm"]
  private static let soundEndings = [
    "npy", "wav", "flac", "mp3", "m4a", "ogg", "opus", "mp4", "flv", "avi", "mkv", "webm", "mov",
  ]
  private static let videoEndings = ["mp4", "avi", "flv", "mkv", "webm", "mov", "mpg"]
  /// Formats that can run code or hold anything when they are read.
  private static let refusedEndings = ["pt", "pth", "pkl", "pickle", "h5", "hdf5", "mat"]
  private static let pointer = Array("version https://git-lfs.github.com/spec/".utf8)

  let folder: URL
  let recipe: DataRecipe
  /// Whether features are read to find numbers that are not finite.
  let readsFeatures: Bool
  /// Frames of a sample.
  let frameCount: Int
  private(set) var problems: [DataProblem] = []
  private(set) var samples: [[SourceSample]] = [[], [], []]
  private(set) var incompleteCount = 0
  /// Whether there is a list of validation samples.
  var hasValidation = false
  /// The shape of features that are read from files, by modality.
  private(set) var featureShapes: [String: [Int]] = [:]
  private var seen: [[UInt8]: (split: Int, place: Place)] = [:]

  init(_ folder: URL, _ recipe: DataRecipe, frameCount: Int, readsFeatures: Bool) {
    (self.folder, self.recipe, self.readsFeatures) = (folder, recipe, readsFeatures)
    self.frameCount = recipe.frames ?? frameCount
  }

  // MARK: Problems and samples

  func report(_ kind: DataProblem.Kind, _ place: Place, sample: String? = nil, _ message: String) {
    problems.append(DataProblem(kind, path: place.path, line: place.line, sample: sample, message))
  }

  /// Adds a sample; one that lacks a part is counted, and its parts have said why.
  ///
  /// - Parameter split: 0 train, 1 validation, 2 test.
  func add(_ id: String, label: Int?, split: Int, _ place: Place, _ parts: [SourcePart?]) {
    if let before = seen[Array(id.utf8)] {
      let names = PackedManifest.splitNames
      let origin = "\(before.place.path)" + (before.place.line.map { ":\($0)" } ?? "")
      if before.split == split {
        report(
          .duplicateID, place, sample: id, "the id \(id.inQuotes) stands a second time, first in \(origin)")
      } else {
        report(
          .splitOverlap, place, sample: id,
          "the id \(id.inQuotes) of \(names[split]) is also in \(names[before.split]): \(origin)")
      }
      return
    }
    seen[Array(id.utf8)] = (split, place)
    guard let label else { return }
    let complete = parts.compactMap { $0 }
    guard complete.count == parts.count else {
      incompleteCount += 1
      return
    }
    samples[split].append(SourceSample(id: id, label: label, parts: complete))
  }

  /// The class of a name, or nil and a problem.
  func label(_ name: String, of classes: [String], _ place: Place, sample: String) -> Int? {
    if let index = classes.firstIndex(where: { $0.utf8.elementsEqual(name.utf8) }) { return index }
    report(
      .unknownClass, place, sample: sample,
      "the class \(name.inQuotes) is not known, expected one of \(classes.prefix(8).joined(separator: ", "))"
        + (classes.count > 8 ? ", …" : "") + NameSuggestion.question(for: name, in: classes))
    return nil
  }

  // MARK: Files

  func url(_ name: String) -> URL { folder.appendingPathComponent(name) }
  /// Whether there is such a file; what lists name outside of the folder is not there.
  func exists(_ url: URL) -> Bool {
    url.standardizedFileURL.path.hasPrefix(folder.standardizedFileURL.path + "/")
      && FileManager.default.fileExists(atPath: url.path)
  }

  /// The first of some lists that is there; without one a problem, unless it may be missing.
  func list(_ names: [String], isOptional: Bool = false) -> ListFile? {
    guard let name = names.first(where: { exists(url($0)) }) else {
      if !isOptional {
        report(
          .missingList, Place(path: url(names[0]).path, line: nil),
          "the list is missing"
            + (names.count > 1 ? ", also as \(names.dropFirst().joined(separator: ", "))" : ""))
      }
      return nil
    }
    let place = Place(path: url(name).path, line: nil)
    guard isSound(url(name), place, sample: nil) else { return nil }
    do {
      let list = try ListFile(url(name))
      if let line = list.openQuote {
        report(
          .badLine, Place(path: list.path, line: line),
          "a quote is opened and not closed, all that follows is in it")
        return nil
      }
      return list
    } catch {
      report(.unreadable, place, error.localizedDescription)
      return nil
    }
  }

  /// Whether a file has contents of its own; a problem if not.
  func isSound(_ url: URL, _ place: Place, sample: String?) -> Bool {
    do {
      let start = try FileReader.start(of: url, count: 64)
      if start.isEmpty {
        report(.unreadable, place, sample: sample, "\(relative(url)) is empty")
        return false
      }
      if start.starts(with: Self.pointer) {
        report(
          .gitLFSPointer, place, sample: sample,
          "\(relative(url)) is a git-LFS pointer and not the file; get it with 'git lfs pull'")
        return false
      }
      if start.starts(with: Array("RIFF".utf8)), start.dropFirst(8).starts(with: Array("WAVE".utf8)) {
        // The four bytes behind the name are the size of all that follows them.
        let promised = 8 + (0..<4).reduce(0) { $0 | Int(start[4 + $1]) << (8 * $1) }
        let found = try FileReader.size(of: url)
        // Longer recordings are read by ffmpeg, which does not need the size.
        if found < promised && found <= WAVFile.sizeLimit {
          report(
            .unreadable, place, sample: sample,
            "\(relative(url)) ends after \(found) bytes, its header promises \(promised)")
          return false
        }
      }
      return true
    } catch {
      report(.unreadable, place, sample: sample, error.localizedDescription)
      return false
    }
  }

  /// The path within the folder, for messages.
  func relative(_ url: URL) -> String {
    url.path.hasPrefix(folder.path + "/") ? String(url.path.dropFirst(folder.path.count + 1)) : url.path
  }

  /// A file of one of some endings below one of some folders.
  private func find(_ id: String, _ folders: [String], _ endings: [String]) -> URL? {
    for folder in folders {
      for ending in endings {
        let place = url("\(folder)/\(id).\(ending)")
        if exists(place) { return place }
      }
    }
    return nil
  }

  private func missing(
    _ what: String, _ id: String, _ folders: [String], _ place: Place, expected: String
  ) -> SourcePart? {
    if let found = find(id, folders, Self.refusedEndings) {
      report(
        .refusedFormat, place, sample: id,
        "\(relative(found)): pickles, HDF5 and .mat are not read; convert them once (Documentation/Classic/data.md)"
      )
    } else {
      report(
        .missingModality, place, sample: id, "sample \(id.inQuotes) has no \(what): looked for \(expected)")
    }
    return nil
  }

  /// The sound of a sample: features in `.npy`, or a recording.
  func sound(_ id: String, _ modality: String, in folders: [String], _ place: Place) -> SourcePart? {
    guard let found = find(id, folders, Self.soundEndings) else {
      return missing(
        modality, id, folders, place,
        expected: folders.map { "\($0)/\(id).{npy,wav,flac,mp3,mp4,…}" }.joined(separator: ", "))
    }
    guard isSound(found, place, sample: id) else { return nil }
    if found.pathExtension == "npy" { return array(found, modality, id, place) }
    return checked(soundShape, found, modality, id, place) ? .sound(found) : nil
  }

  /// The shape of features that are made here.
  private var soundShape: [Int] {
    recipe.sound == .logSpectrogram
      ? [LogSpectrogram.binCount, LogSpectrogram(seconds: recipe.seconds).frameCount]
      : [recipe.soundFrames, KaldiFilterBank.bandCount]
  }

  private func checked(_ shape: [Int], _ url: URL, _ modality: String, _ id: String, _ place: Place) -> Bool {
    let known = featureShapes[modality] ?? shape
    featureShapes[modality] = known
    if known == shape { return true }
    report(
      .wrongShape, place, sample: id, "\(relative(url)) gives features of \(shape), those before \(known)")
    return false
  }

  private func array(_ url: URL, _ modality: String, _ id: String, _ place: Place) -> SourcePart? {
    do {
      let stored = try NPYFile.read(path: url.path)
      var shape = stored.shape.filter { $0 != 1 }
      if shape.isEmpty { shape = [1] }
      guard shape.count <= 3, stored.elementCount > 0 else {
        report(.wrongShape, place, sample: id, "\(relative(url)) has the shape \(stored.shape)")
        return nil
      }
      guard checked(shape, url, modality, id, place) else { return nil }
      if readsFeatures, try !stored.isFinite() {
        report(.notFinite, place, sample: id, "\(relative(url)) holds NaN or infinity")
        return nil
      }
      return .array(url)
    } catch {
      report(.unreadable, place, sample: id, error.localizedDescription)
      return nil
    }
  }

  /// The frames of a sample: a folder of pictures, or a video.
  func frames(_ id: String, _ what: String, in folders: [String], _ place: Place, allowsVideo: Bool = true)
    -> SourcePart?
  {
    for folder in folders {
      let frames = url("\(folder)/\(id)")
      // A path that ends in a slash exists where it is a folder.
      if exists(frames), FileManager.default.fileExists(atPath: frames.path + "/") {
        return pictures(frames, id, place).map { .pictures($0) }
      }
    }
    if allowsVideo, let video = find(id, folders, Self.videoEndings) {
      return isSound(video, place, sample: id) ? .video(video) : nil
    }
    return missing(
      what, id, folders, place,
      expected: folders.map { "\($0)/\(id)/" }.joined(separator: ", ") + (allowsVideo ? " or a video" : ""))
  }

  /// One picture.
  func picture(_ url: URL, _ id: String, _ place: Place) -> SourcePart? {
    guard exists(url) else {
      report(
        .missingModality, place, sample: id,
        "sample \(id.inQuotes) has no picture: looked for \(relative(url))")
      return nil
    }
    return isSound(url, place, sample: id) ? .pictures([url]) : nil
  }

  /// Pictures of a folder in their order, one from the middle of each of as many equal segments as are wanted.
  func pictures(_ frames: URL, _ id: String, _ place: Place) -> [URL]? {
    let names: [String]
    do { names = try FileSystem.names(in: frames.path) } catch {
      report(.unreadable, place, sample: id, error.localizedDescription)
      return nil
    }
    let pictures = names.filter { name in
      !name.hasPrefix(".") && Self.pictureEndings.contains((name as NSString).pathExtension.lowercased())
    }.sorted(by: precedesNaturally)
    guard pictures.count >= frameCount else {
      report(
        .tooFewFrames, place, sample: id,
        "the pictures in \(relative(frames)) are \(pictures.count), expected at least \(frameCount)")
      return nil
    }
    let chosen = Self.middles(of: pictures.count, count: frameCount).map {
      frames.appendingPathComponent(pictures[$0])
    }
    return chosen.allSatisfy({ isSound($0, place, sample: id) }) ? chosen : nil
  }

  /// The middle of each of `count` equal segments of `total` frames.
  static func middles(of total: Int, count: Int) -> [Int] {
    (0..<count).map { (2 * $0 + 1) * total / (2 * count) }
  }

  // MARK: The end

  /// Orders samples, makes the validation split where there is none, and notes what was done.
  func listing(
    _ layout: DataLayout, classes: [String], modalities: [PackedModality], notes: [(String, JSONValue)] = []
  ) -> DataListing {
    for split in samples.indices {
      samples[split].sort { $0.id.utf8.lexicographicallyPrecedes($1.id.utf8) }
    }
    var recipeNotes = JSONObject([("layout", .string(layout.rawValue))] + notes)
    let distinct = Set(classes.map { Array($0.utf8) }).count
    if problems.isEmpty, distinct < 2 || distinct < classes.count {
      report(
        .badLine, Place(path: folder.path, line: nil),
        "found \(classes.count) classes of \(distinct) names, expected two or more that differ")
    }
    if !hasValidation {
      let taken = Self.validation(samples[0].map(\.label), share: recipe.validationShare, seed: recipe.seed)
      samples[1] = samples[0].indices.filter { taken.contains($0) }.map { samples[0][$0] }
      samples[0] = samples[0].indices.filter { !taken.contains($0) }.map { samples[0][$0] }
      recipeNotes["validation"] = [
        "share_of_train": .number(recipe.validationShare), "seed": .integer(recipe.seed),
        "drawn": "a share of every class",
      ]
    }
    if recipe.skipsIncomplete { recipeNotes["left_out"] = .integer(incompleteCount) }
    if problems.isEmpty || recipe.skipsIncomplete {
      for (split, name) in PackedManifest.splitNames.enumerated() where samples[split].isEmpty {
        report(.emptySplit, Place(path: folder.path, line: nil), "no sample is left for \(name)")
      }
    }
    return DataListing(
      layout: layout.rawValue, folder: folder, classes: classes, modalities: modalities, problems: problems,
      incompleteCount: incompleteCount, splits: samples, recipe: recipe, recipeNotes: recipeNotes)
  }

  /// A share of every class, at least one sample of a class with two or more; the same for the same labels and seed.
  static func validation(_ labels: [Int], share: Double, seed: Int) -> Set<Int> {
    guard share > 0 else { return [] }
    var stream = RandomStream(seed: seed, purpose: "validation split")
    var members: [Int: [Int]] = [:]
    for index in stream.permutation(of: labels.count) { members[labels[index], default: []].append(index) }
    var taken: Set<Int> = []
    for indices in members.values {
      let count = Int((Double(indices.count) * share).rounded())
      taken.formUnion(indices.prefix(indices.count < 2 ? 0 : min(indices.count - 1, max(1, count))))
    }
    return taken
  }

  /// Frames of pictures as the recipe stores them.
  func pictureModality(_ name: String, channels: Int = 3, frames: Int? = nil) -> PackedModality {
    var modality = PackedModality(
      name: name, frames: frames ?? frameCount, side: recipe.side, channels: channels,
      inputSide: recipe.inputSide)
    modality.cropsCentre = recipe.fit == .crop
    return modality
  }

  /// Features of sound, of the shape that was found.
  func soundModality(_ name: String) -> PackedModality {
    PackedModality(name: name, kind: .features, shape: featureShapes[name] ?? soundShape)
  }

  /// What the recipe says of pictures and sound.
  var mediaNotes: [(String, JSONValue)] {
    let sound = recipe.sound ?? .filterBank
    return [
      ("frames", .integer(frameCount)), ("frame_choice", "middle of equal segments"),
      ("fit", .string(recipe.fit.rawValue)), ("sound", .string(sound.rawValue)),
      sound == .logSpectrogram
        ? ("seconds", .number(recipe.seconds)) : ("sound_frames", .integer(recipe.soundFrames)),
    ]
  }
}
