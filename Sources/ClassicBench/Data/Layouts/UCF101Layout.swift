import Foundation
import RunKit

/// UCF-101: 13,320 clips of 101 actions, as frames and as optical flow.
///
///     classInd.txt                          lines `number Name`
///     trainlist01.txt, testlist01.txt       lines `Name/v_Name_g01_c01.avi [number]`; also below ucfTrainTestlist/
///     visual/v_Name_g01_c01/*.jpg           also jpegs_256/; or a video visual/v_Name_g01_c01.avi
///     flow/u/v_Name_g01_c01/*.jpg           also tvl1_flow/u/
///     flow/v/v_Name_g01_c01/*.jpg           also tvl1_flow/v/
///
/// Classes are the names in the order of their bytes, which is that of the published numbers. Pictures of flow are grey: a
/// level of 127.5 is no motion. Both folders of a clip must hold as many.
///
/// Source: Soomro, Zamir and Shah, "UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild", 2012,
/// arXiv:1212.0402; frames and flow as in Feichtenhofer, Pinz and Zisserman, CVPR 2016, arXiv:1604.06573.
enum UCF101Layout {
  static func listing(_ lister: SourceLister) -> DataListing {
    func names(_ name: String) -> [String] { [name, "ucfTrainTestlist/" + name] }
    let index = lister.list(names("classInd.txt"))
    var found: [String] = []
    for row in index?.rows ?? [] {
      let place = SourceLister.Place(path: index?.path ?? "", line: row.line)
      guard row.fields.count == 2, Int(row.fields[0]) != nil else {
        lister.report(.badLine, place, "expected a number and a name")
        continue
      }
      found.append(row.fields[1])
    }
    let classes = Array(Set(found)).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    let lists = [names("trainlist01.txt"), names("validationlist01.txt"), names("testlist01.txt")]
    for (split, names) in lists.enumerated() {
      guard let list = lister.list(names, isOptional: split == 1) else { continue }
      if split == 1 { lister.hasValidation = true }
      for row in list.rows {
        let place = SourceLister.Place(path: list.path, line: row.line)
        let parts = row.fields[0].split(separator: "/").map(String.init)
        guard parts.count == 2, row.fields.count <= 2 else {
          lister.report(.badLine, place, "expected Name/clip.avi, in the training list with a number")
          continue
        }
        let id = (parts[1] as NSString).deletingPathExtension
        lister.add(
          id, label: lister.label(parts[0], of: classes, place, sample: id), split: split, place,
          [
            lister.frames(id, "visual", in: ["visual", "jpegs_256", "visual/\(parts[0])"], place),
            flow(lister, id, place),
          ])
      }
    }
    return lister.listing(
      .ucf101, classes: classes,
      modalities: [lister.pictureModality("visual"), lister.pictureModality("flow", channels: 2)],
      notes: [
        ("frames", .integer(lister.frameCount)), ("frame_choice", "middle of equal segments"),
        ("fit", .string(lister.recipe.fit.rawValue)), ("flow", "u, v"),
      ])
  }

  private static func flow(_ lister: SourceLister, _ id: String, _ place: SourceLister.Place) -> SourcePart? {
    let parts = ["u", "v"].map { axis in
      lister.frames(
        id, "flow \(axis)", in: ["flow/\(axis)", "tvl1_flow/\(axis)"], place, allowsVideo: false)
    }
    guard case .pictures(let u)? = parts[0], case .pictures(let v)? = parts[1] else { return nil }
    guard u.map(\.lastPathComponent) == v.map(\.lastPathComponent) else {
      lister.report(
        .tooFewFrames, place, sample: id, "sample \(id.inQuotes) has other pictures of flow u than of flow v")
      return nil
    }
    return .flow(u: u, v: v)
  }
}
