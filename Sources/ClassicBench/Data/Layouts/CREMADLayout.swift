import RunKit

/// CREMA-D: 7442 clips of actors who say a sentence with one of six emotions.
///
///     train.csv, test.csv, optionally validation.csv    lines `id,LABEL`, LABEL one of NEU HAP SAD FEA DIS ANG
///     audio/ID.wav (or AudioWAV/)                       or features ID.npy
///     visual/ID/*.jpg (or Image-01-FPS/, Image-02-FPS/) or a video visual/ID.mp4, VideoFlash/ID.flv
///
/// Source: Cao et al., "CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset", IEEE Transactions on Affective
/// Computing 5(4), 2014; lists and folders as in OGM-GE (Peng et al., CVPR 2022).
enum CREMADLayout {
  /// In the order of the published class numbers.
  static let classes = ["NEU", "HAP", "SAD", "FEA", "DIS", "ANG"]

  static func listing(_ lister: SourceLister) -> DataListing {
    let lists = [
      ["train.csv", "train.txt"], ["validation.csv", "val.csv", "valid.csv"], ["test.csv", "test.txt"],
    ]
    for (split, names) in lists.enumerated() {
      guard let list = lister.list(names, isOptional: split == 1) else { continue }
      if split == 1 { lister.hasValidation = true }
      for row in list.rows {
        let place = SourceLister.Place(path: list.path, line: row.line)
        guard row.fields.count >= 2, !row.fields[0].isEmpty else {
          lister.report(.badLine, place, "found \(row.fields.count) fields, expected an id and a label")
          continue
        }
        let (id, name) = (row.fields[0], row.fields[1])
        lister.add(
          id, label: lister.label(name, of: classes, place, sample: id), split: split, place,
          [
            lister.sound(id, "audio", in: ["audio", "AudioWAV"], place),
            lister.frames(
              id, "visual", in: ["visual", "Image-01-FPS", "Image-02-FPS", "VideoFlash"], place),
          ])
      }
    }
    return lister.listing(
      .cremad, classes: classes,
      modalities: [lister.soundModality("audio"), lister.pictureModality("visual")], notes: lister.mediaNotes)
  }
}
