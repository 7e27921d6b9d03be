import Foundation
import RunKit

/// VGGSound: ten seconds of YouTube for each of 309 classes of events.
///
///     vggsound.csv                    lines `youtube_id,start seconds,label,split`, split train, validation or test
///     audio/ID_START.wav              or features ID_START.npy
///     visual/ID_START/*.jpg           or a video
///
/// START is as in the list, or with six digits (`000030`). Classes are the labels of the whole list in the order of their
/// bytes, whatever files are there.
///
/// Source: Chen et al., "VGGSound: A Large-scale Audio-Visual Dataset", ICASSP 2020, arXiv:2004.14368.
enum VGGSoundLayout {
  static func listing(_ lister: SourceLister) -> DataListing {
    let list = lister.list(["vggsound.csv", "vggsound.txt"])
    let rows = list?.rows ?? []
    let labels = Set(rows.filter { $0.fields.count == 4 }.map { $0.fields[2] })
    let classes = labels.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    let splits = ["train": 0, "validation": 1, "val": 1, "test": 2]
    lister.hasValidation = rows.contains { $0.fields.count == 4 && splits[$0.fields[3]] == 1 }
    let indices = Dictionary(uniqueKeysWithValues: classes.enumerated().map { ($0.element, $0.offset) })
    for row in rows {
      let place = SourceLister.Place(path: list?.path ?? "", line: row.line)
      guard row.fields.count == 4, let start = Int(row.fields[1]), let split = splits[row.fields[3]] else {
        lister.report(
          .badLine, place,
          "expected an id, whole seconds, a label and train, validation or test with commas between")
        continue
      }
      let id = "\(row.fields[0])_\(start)"
      let long =
        "\(row.fields[0])_" + String(repeating: "0", count: max(0, 6 - String(start).count)) + "\(start)"
      // The names of files are the long ones as soon as one of them is there.
      let isLong =
        FileManager.default.fileExists(atPath: lister.url("visual/\(long)").path)
        || ["npy", "wav"].contains { lister.exists(lister.url("audio/\(long).\($0)")) }
      let name = isLong ? long : id
      lister.add(
        name, label: indices[row.fields[2]], split: split, place,
        [
          lister.sound(name, "audio", in: ["audio"], place),
          lister.frames(name, "visual", in: ["visual"], place),
        ])
    }
    return lister.listing(
      .vggsound, classes: classes,
      modalities: [lister.soundModality("audio"), lister.pictureModality("visual")], notes: lister.mediaNotes)
  }
}
