import Foundation
import RunKit
import TensorCore

/// CMU-MOSEI: what people say in videos, as sequences of features of words, voice and face.
///
///     train.npz, valid.npz (also validation.npz), test.npz       made from the published pickle, see
///                                                                Documentation/Classic/data.md
///     train.ids.txt, …                                           an id a line, optional
///
/// Each archive holds `text` `[samples, steps, 300]`, `audio` `[samples, steps, 74]`, `vision` `[samples, steps, 35]` and
/// `labels` `[samples]` (or with axes of 1 behind), a sentiment of -3...3. Rows of zeros at either end are padding and are
/// left out; −∞ in audio becomes 0.
///
/// | classes | of a label y |
/// | --- | --- |
/// | 2 | negative: y < 0; positive: the rest |
/// | 3 | negative: y < 0; neutral: 0; positive: y > 0 |
/// | 7 | y rounded to the nearest whole number, halves to the even one |
///
/// Source: Zadeh et al., "Multimodal Language Analysis in the Wild: CMU-MOSEI Dataset and Interpretable Dynamic Fusion
/// Graph", ACL 2018; files as in Tsai et al., "Multimodal Transformer", ACL 2019, arXiv:1906.00295.
enum MOSEILayout {
  private static let modalities = [
    ("text", ["text"]), ("audio", ["audio"]), ("vision", ["vision", "video", "visual"]),
  ]

  static func classes(_ count: Int) -> [String] {
    switch count {
    case 3: ["negative", "neutral", "positive"]
    case 7: ["-3", "-2", "-1", "0", "1", "2", "3"]
    default: ["negative", "positive"]
    }
  }

  static func label(_ sentiment: Double, classes: Int) -> Int {
    switch classes {
    case 3: sentiment < 0 ? 0 : sentiment == 0 ? 1 : 2
    case 7: 3 + Int(min(3, max(-3, sentiment.rounded(.toNearestOrEven))))
    default: sentiment < 0 ? 0 : 1
    }
  }

  static func listing(_ lister: SourceLister) -> DataListing {
    var sizes: [String: Int] = [:]
    let files = [["train.npz"], ["valid.npz", "validation.npz", "val.npz"], ["test.npz"]]
    for (split, names) in files.enumerated() {
      guard let name = names.first(where: { lister.exists(lister.url($0)) }) else {
        if split != 1 { missing(names[0], lister) }
        continue
      }
      if split == 1 { lister.hasValidation = true }
      read(lister.url(name), split: split, lister, &sizes)
    }
    let modalities = Self.modalities.map { name, _ in
      PackedModality(name: name, kind: .sequence, shape: [sizes[name] ?? 1])
    }
    return lister.listing(
      .mosei, classes: classes(lister.recipe.sentimentClasses), modalities: modalities,
      notes: [
        ("classes", .integer(lister.recipe.sentimentClasses)),
        ("padding", "rows of zeros at the ends left out"),
        ("negative_infinity_in_audio", .integer(0)),
      ])
  }

  private static func missing(_ name: String, _ lister: SourceLister) {
    let place = SourceLister.Place(path: lister.url(name).path, line: nil)
    let names = (try? FileSystem.names(in: lister.folder.path)) ?? []
    if let pickle = names.first(where: { $0.hasSuffix(".pkl") || $0.hasSuffix(".pt") }) {
      lister.report(
        .refusedFormat, place,
        "\(pickle): pickles are not read; convert it once (Documentation/Classic/data.md)")
    } else {
      lister.report(.missingList, place, "the archive is missing")
    }
  }

  private static func read(_ url: URL, split: Int, _ lister: SourceLister, _ sizes: inout [String: Int]) {
    let place = SourceLister.Place(path: url.path, line: nil)
    guard lister.isSound(url, place, sample: nil) else { return }
    do {
      let archive = try NPZArchive(path: url.path)
      let labels = try archive.array("labels").floats()
      var arrays: [StoredTensor] = []
      for (name, spellings) in modalities {
        let array = try archive.array(spellings.first { archive[$0] != nil } ?? name)
        let size = array.shape.last ?? 0
        guard array.elementType.isFloatingPoint, array.shape.count == 3, array.shape[0] == labels.count,
          array.shape[1] > 0,
          sizes[name] ?? size == size, size > 0
        else {
          lister.report(
            .wrongShape, place,
            "array \(array.name.inQuotes) is \(array.elementType.rawValue) \(array.shape), expected floats [\(labels.count), steps, "
              + "\(sizes[name].map(String.init) ?? "size")]")
          return
        }
        sizes[name] = size
        arrays.append(array)
      }
      let ids = try self.ids(url, lister, count: labels.count, split)
      for (row, id) in ids.enumerated() {
        let sentiment = Double(labels[row])
        if !sentiment.isFinite {
          lister.report(.notFinite, place, sample: id, "the label of row \(row) is \(sentiment)")
        }
        let parts = arrays.map { array -> SourcePart? in
          let problem = lister.readsFeatures ? notFinite(array, row) : nil
          if let problem { lister.report(.notFinite, place, sample: id, problem) }
          return problem == nil ? .steps(array, row: row) : nil
        }
        lister.add(
          id, label: sentiment.isFinite ? label(sentiment, classes: lister.recipe.sentimentClasses) : nil,
          split: split, place, parts)
      }
    } catch {
      lister.report(.unreadable, place, error.localizedDescription)
    }
  }

  private static func ids(_ url: URL, _ lister: SourceLister, count: Int, _ split: Int) throws -> [String] {
    let list = url.deletingPathExtension().appendingPathExtension("ids.txt")
    guard lister.exists(list) else {
      return (0..<count).map { "\(PackedManifest.splitNames[split])-\($0)" }
    }
    let ids = try FileReader.text(of: list, limit: ListFile.sizeLimit).split(whereSeparator: \.isNewline)
    if ids.count != count {
      lister.report(
        .badLine, SourceLister.Place(path: list.path, line: ids.count),
        "\(ids.count) ids, the archive has \(count) samples")
    }
    return (0..<count).map { $0 < ids.count ? String(ids[$0]) : "row \($0)" }
  }

  /// What is wrong with the numbers of a row; nil for nothing. −∞ in audio stands for silence.
  static func notFinite(_ array: StoredTensor, _ row: Int) -> String? {
    let values = steps(array, row)
    guard let odd = values.firstIndex(where: { !$0.isFinite }) else { return nil }
    return "row \(row) of \(array.name.inQuotes) holds \(values[odd])"
  }

  /// One row, −∞ in audio as 0.
  static func steps(_ array: StoredTensor, _ row: Int) -> [Float] {
    let size = array.shape[1] * array.shape[2]
    let values = (try? array.slice(row * size..<(row + 1) * size).floats()) ?? []
    return array.name == "audio" ? values.map { $0 == -.infinity ? 0 : $0 } : values
  }

  /// The rows of one sample without those of zeros at either end; one of zeros if there are no others.
  static func trimmed(_ array: StoredTensor, _ row: Int) -> [Float] {
    let (values, width) = (steps(array, row), array.shape[2])
    func isEmpty(_ step: Int) -> Bool { values[step * width..<(step + 1) * width].allSatisfy { $0 == 0 } }
    let count = values.count / width
    let first = (0..<count).first { !isEmpty($0) } ?? count - 1
    let last = (first..<count).last { !isEmpty($0) } ?? first
    return Array(values[first * width..<(last + 1) * width])
  }
}
