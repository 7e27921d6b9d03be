import RunKit

/// KineticsSounds: clips of Kinetics whose action can be seen and heard.
///
///     train.txt, test.txt, optionally validation.txt    lines `id,…,label` or `id … label`; also my_train.txt, my_test.txt
///     classes.txt                                       one name for each number, optional
///     audio/ID.wav                                      or features ID.npy; also audio/train/, audio/test/
///     visual/ID/*.jpg                                   or a video; also visual/train/, visual/test/
///
/// The last field is the number of the class, from 0. Without `classes.txt` classes are named by their numbers, from 0 to
/// the largest in the lists (the published lists have 31; other numbers of classes are in use). Fields between are not
/// used, and an ending of the id (`.mp4`) is taken off.
///
/// Source: Arandjelović and Zisserman, "Look, Listen and Learn", ICCV 2017, arXiv:1705.08168; lists as in OGM-GE.
enum KineticsSoundsLayout {
  /// The largest number of a class.
  private static let classLimit = 1000

  static func listing(_ lister: SourceLister) -> DataListing {
    let lists = [
      ["train.txt", "train.csv", "my_train.txt"], ["validation.txt", "val.txt", "valid.txt"],
      ["test.txt", "test.csv", "my_test.txt"],
    ].enumerated().map { split, names in lister.list(names, isOptional: split == 1) }
    lister.hasValidation = lists[1] != nil
    let numbers = lists.compactMap { $0 }.flatMap(\.rows).compactMap { $0.fields.last.flatMap { Int($0) } }
    let named = lister.list(["classes.txt"], isOptional: true)?.rows.map { $0.fields.joined(separator: " ") }
    let largest = numbers.filter { 0..<Self.classLimit ~= $0 }.max() ?? 0
    let classes = named ?? (0...max(1, largest)).map { String($0) }
    for (split, list) in lists.enumerated() {
      guard let list else { continue }
      let part = PackedManifest.splitNames[split]
      for row in list.rows {
        let place = SourceLister.Place(path: list.path, line: row.line)
        guard row.fields.count >= 2, let word = row.fields.last, let number = Int(word) else {
          lister.report(.badLine, place, "expected an id and, at the end, the number of a class")
          continue
        }
        let id = plain(row.fields[0])
        if !classes.indices.contains(number) {
          lister.report(
            .unknownClass, place, sample: id,
            "the class \(number) is not known, expected 0 to \(classes.count - 1)")
        }
        lister.add(
          id, label: classes.indices.contains(number) ? number : nil, split: split, place,
          [
            lister.sound(id, "audio", in: ["audio", "audio/\(part)"], place),
            lister.frames(id, "visual", in: ["visual", "visual/\(part)"], place),
          ])
      }
    }
    return lister.listing(
      .kineticsSounds, classes: classes,
      modalities: [lister.soundModality("audio"), lister.pictureModality("visual")], notes: lister.mediaNotes)
  }

  /// The id without the ending of a file; ids of YouTube hold no dot.
  private static func plain(_ id: String) -> String {
    for ending in [".mp4", ".wav", ".npy"] where id.hasSuffix(ending) {
      return String(id.dropLast(ending.count))
    }
    return id
  }
}
