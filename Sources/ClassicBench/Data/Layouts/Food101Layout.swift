import Foundation
import RunKit

/// UPMC Food-101: a picture from the web and the title of its page for each of 101 dishes.
///
///     texts/train_titles.csv, texts/test_titles.csv     title, label and name of the picture
///     images/train/LABEL/NAME, images/test/LABEL/NAME
///
/// A first line of `text`, `label` and `Image_path` names the columns; without one the column that ends like a picture is
/// the name, and of the others the one that names a folder of `images/train` is the label. A title loses a leading "RT",
/// addresses and "#". It is stored as text.
///
/// Source: Wang et al., "Recipe Recognition with Large Multimodal Food Dataset", ICMEW 2015; lists and cleaning as in the
/// benchmark of arXiv:2502.10816.
enum Food101Layout {
  private struct Columns {
    var text = 0
    var label = 1
    var picture = 2
  }

  static func listing(_ lister: SourceLister) -> DataListing {
    let names = (try? FileSystem.names(in: lister.url("images/train").path)) ?? []
    let folders = Set(names.filter { !$0.hasPrefix(".") })
    let classes = folders.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    if classes.count < 2 {
      lister.report(
        .missingList, SourceLister.Place(path: lister.url("images/train").path, line: nil),
        "expected a folder for each class")
    }
    let lists = ["train_titles.csv", "validation_titles.csv", "test_titles.csv"].enumerated().map {
      split, name in
      lister.list(["texts/" + name, name], isOptional: split == 1)
    }
    lister.hasValidation = lists[1] != nil
    for (split, list) in lists.enumerated() {
      guard let list, let first = list.rows.first else { continue }
      let header = header(first)
      guard let columns = header ?? guessed(first, folders) else {
        lister.report(
          .badLine, SourceLister.Place(path: list.path, line: first.line),
          "expected a title, a label and the name of a picture with commas between")
        continue
      }
      let part = PackedManifest.splitNames[split]
      for row in header == nil ? list.rows[...] : list.rows.dropFirst() {
        let place = SourceLister.Place(path: list.path, line: row.line)
        guard row.fields.count == 3 else {
          lister.report(.badLine, place, "found \(row.fields.count) fields, expected 3")
          continue
        }
        let (label, picture) = (row.fields[columns.label], row.fields[columns.picture])
        let id = "\(label)/\(picture)"
        lister.add(
          id, label: lister.label(label, of: classes, place, sample: id), split: split, place,
          [
            .text(cleaned(row.fields[columns.text])),
            lister.picture(lister.url("images/\(part)/\(label)/\(picture)"), id, place),
          ])
      }
    }
    return lister.listing(
      .food101, classes: classes,
      modalities: [
        PackedModality(name: "text", kind: .text, shape: []), lister.pictureModality("visual", frames: 1),
      ], notes: [("fit", .string(lister.recipe.fit.rawValue)), ("text", "RT, addresses and # removed")])
  }

  private static func header(_ row: ListFile.Row) -> Columns? {
    let names = row.fields.map { $0.lowercased() }
    guard let text = names.firstIndex(of: "text"), let label = names.firstIndex(of: "label"),
      let picture = names.firstIndex(where: { ["image_path", "image", "path"].contains($0) })
    else { return nil }
    return Columns(text: text, label: label, picture: picture)
  }

  private static func guessed(_ row: ListFile.Row, _ classes: Set<String>) -> Columns? {
    guard row.fields.count == 3,
      let picture = row.fields.firstIndex(where: {
        SourceLister.pictureEndings.contains(($0 as NSString).pathExtension.lowercased())
      }),
      let label = (0..<3).first(where: { $0 != picture && classes.contains(row.fields[$0]) }),
      let text = (0..<3).first(where: { $0 != picture && $0 != label })
    else { return nil }
    return Columns(text: text, label: label, picture: picture)
  }

  /// The title without a leading "RT", addresses and "#".
  static func cleaned(_ title: String) -> String {
    var words = title.split(whereSeparator: \.isWhitespace).filter { word in
      !word.hasPrefix("http://") && !word.hasPrefix("https://") && !word.hasPrefix("www.")
    }
    if words.first == "RT" { words.removeFirst() }
    let plain = words.map { String($0.filter { $0 != "#" }) }
    return plain.filter { !$0.isEmpty }.joined(separator: " ")
  }
}
