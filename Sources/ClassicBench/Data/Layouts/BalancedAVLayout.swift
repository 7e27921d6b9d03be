import Foundation
import RunKit

/// BalancedAV: 30 classes whose clips are chosen so that neither modality says more than the other.
///
///     annotations.json      {"labels": […], "database": {ID: {"subset": "training" | "validation" | "testing", "label": …}}}
///     audio/ID.wav          or features ID.npy
///     visual/ID/*.jpg       or a video
///
/// Any one `.json` file of the folder may be the annotations; a label may stand under `annotations`. The published files
/// `ID.hdf5` and `ID.pkl` are refused by name: Documentation/Classic/data.md has a conversion. Classes are the labels in
/// the order of their bytes.
///
/// Source: Xia et al., "Balanced Audiovisual Dataset for Imbalance Analysis", 2023, arXiv:2302.10912.
enum BalancedAVLayout {
  private static let sizeLimit = 1 << 28

  static func listing(_ lister: SourceLister) -> DataListing {
    let (path, document) = annotations(lister)
    let named = document["labels"]?.arrayValue?.compactMap(\.stringValue) ?? []
    let classes = Array(Set(named)).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    let place = SourceLister.Place(path: path, line: nil)
    let splits = ["training": 0, "train": 0, "validation": 1, "val": 1, "testing": 2, "test": 2]
    let entries = document["database"]?.objectValue?.members ?? []
    if document != .null, classes.count < 2 || entries.isEmpty {
      lister.report(
        .badLine, place, "expected 'labels', two or more, and 'database' with an object for each id")
    }
    func split(_ entry: JSONValue) -> Int? { entry["subset"]?.stringValue.flatMap { splits[$0] } }
    lister.hasValidation = entries.contains { split($0.value) == 1 }
    for (id, entry) in entries {
      guard let split = split(entry),
        let name = entry["label"]?.stringValue ?? entry["annotations"]?["label"]?.stringValue
      else {
        lister.report(.badLine, place, sample: id, "\(id.inQuotes): expected a 'subset' and a 'label'")
        continue
      }
      lister.add(
        id, label: lister.label(name, of: classes, place, sample: id), split: split, place,
        [lister.sound(id, "audio", in: ["audio"], place), lister.frames(id, "visual", in: ["visual"], place)])
    }
    return lister.listing(
      .balancedav, classes: classes,
      modalities: [lister.soundModality("audio"), lister.pictureModality("visual")], notes: lister.mediaNotes)
  }

  private static func annotations(_ lister: SourceLister) -> (String, JSONValue) {
    let names = ((try? FileSystem.names(in: lister.folder.path)) ?? []).filter { $0.hasSuffix(".json") }
    let name = names.contains("annotations.json") ? "annotations.json" : names.first ?? "annotations.json"
    let place = SourceLister.Place(path: lister.url(name).path, line: nil)
    guard names.count == 1 || names.contains("annotations.json") else {
      lister.report(
        .missingList, place,
        names.isEmpty
          ? "the annotations are missing" : "several .json files, expected one or annotations.json")
      return (place.path, .null)
    }
    guard lister.isSound(lister.url(name), place, sample: nil) else { return (place.path, .null) }
    do {
      let bytes = try FileReader.bytes(of: lister.url(name), limit: sizeLimit)
      return (place.path, try JSONValue(parsing: bytes, countLimit: 1 << 22))
    } catch {
      lister.report(.unreadable, place, error.localizedDescription)
      return (place.path, .null)
    }
  }
}
