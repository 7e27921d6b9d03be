import Foundation
public import RunKit
import TensorCore

/// The contents of `manifest.json` in a packed folder.
public struct PackedManifest: Sendable, Equatable {
  /// The version of the format.
  public static let format = "mmprobe.data/v1"

  /// A file of samples that follow each other.
  public struct Shard: Sendable, Equatable {
    /// Its name in the folder.
    public let file: String
    /// How many samples it holds.
    public let samples: Int
    /// Its size.
    public let bytes: Int
    /// The hash of the file, 64 hexadecimal digits.
    public let sha256: String
  }

  /// A part of the data set.
  public struct Split: Sendable, Equatable {
    /// train, validation or test.
    public let name: String
    /// The ids of the samples, each once.
    public let ids: [String]
    /// Their classes.
    public let labels: [Int]
    /// The files that hold them, in order.
    public let shards: [Shard]
  }

  /// The splits in their order.
  public static let splitNames = ["train", "validation", "test"]
  /// What the data set is called in results.
  public let name: String
  /// The names of the classes, in the order of their numbers.
  public let classes: [String]
  /// The modalities.
  public let modalities: [PackedModality]
  /// The splits.
  public let splits: [Split]
  /// How the data were made.
  public let recipe: JSONObject

  /// The document.
  var json: JSONValue {
    [
      "format": .string(Self.format), "name": .string(name), "classes": .array(classes.map(JSONValue.string)),
      "modalities": .array(modalities.map(\.json)), "splits": .array(splits.map(\.json)),
      "recipe": .object(recipe),
    ]
  }

  /// Reads the document.
  ///
  /// - Parameter path: For messages.
  /// - Throws: `PackedDataError.badManifest`.
  public init(path: String, bytes: [UInt8]) throws(PackedDataError) {
    let value: JSONValue
    do {
      value = try JSONValue(parsing: bytes, depthLimit: 16, countLimit: 1 << 23)
    } catch {
      throw .badManifest(path: path, key: "the document", expected: "JSON: \(error.localizedDescription)")
    }
    let reader = try ManifestReader(path: path, name: "", value)
    guard try reader.text("format") == Self.format else {
      throw .badManifest(path: path, key: "format", expected: Self.format.inQuotes)
    }
    name = try reader.text("name")
    classes = try reader.texts("classes")
    guard classes.count > 1, Set(classes.map { Array($0.utf8) }).count == classes.count else {
      throw .badManifest(path: path, key: "classes", expected: "two or more different names")
    }
    modalities = try reader.objects("modalities").map { entry throws(PackedDataError) in
      try PackedModality(entry)
    }
    guard !modalities.isEmpty, Set(modalities.map { Array($0.name.utf8) }).count == modalities.count else {
      throw .badManifest(path: path, key: "modalities", expected: "one or more, each named differently")
    }
    let classCount = classes.count
    splits = try reader.objects("splits").map { entry throws(PackedDataError) in
      try Split(entry, classCount: classCount)
    }
    guard splits.map(\.name) == Self.splitNames else {
      throw .badManifest(path: path, key: "splits", expected: Self.splitNames.joined(separator: ", "))
    }
    guard Set(splits.flatMap(\.ids).map { Array($0.utf8) }).count == splits.reduce(0, { $0 + $1.ids.count })
    else {
      throw .badManifest(path: path, key: "splits", expected: "ids that stand in one split each")
    }
    let files = splits.flatMap(\.shards).map { Array($0.file.utf8) }
    guard Set(files).count == files.count else {
      throw .badManifest(path: path, key: "splits", expected: "shards that belong to one split each")
    }
    guard let recipe = try reader.value("recipe").objectValue else {
      throw .badManifest(path: path, key: "recipe", expected: "an object")
    }
    self.recipe = recipe
    try reader.finish()
  }

  init(
    name: String, classes: [String], modalities: [PackedModality], splits: [Split], recipe: JSONObject
  ) {
    (self.name, self.classes, self.modalities) = (name, classes, modalities)
    (self.splits, self.recipe) = (splits, recipe)
  }
}

extension PackedManifest.Split {
  fileprivate init(_ reader: ManifestReader, classCount: Int) throws(PackedDataError) {
    name = try reader.text("name")
    ids = try reader.texts("ids")
    labels = try reader.integers("labels", in: 0...classCount - 1)
    shards = try reader.objects("shards").map { entry throws(PackedDataError) in
      let shard = PackedManifest.Shard(
        file: try entry.text("file"), samples: try entry.integer("samples", in: 1...1 << 32),
        bytes: try entry.integer("bytes", in: 8...1 << 48), sha256: try entry.text("sha256"))
      try entry.finish()
      guard PackedManifest.isPlain(shard.file) else {
        throw .badManifest(path: entry.path, key: entry.name + "file", expected: "a plain name of a file")
      }
      guard shard.sha256.utf8.count == 64, shard.sha256.allSatisfy(\.isHexDigit) else {
        throw .badManifest(path: entry.path, key: entry.name + "sha256", expected: "64 hexadecimal digits")
      }
      return shard
    }
    try reader.finish()
    guard ids.count == labels.count, shards.reduce(0, { $0 + $1.samples }) == ids.count else {
      throw .badManifest(
        path: reader.path, key: reader.name + "shards", expected: "as many samples as ids and labels")
    }
    guard Set(ids.map { Array($0.utf8) }).count == ids.count else {
      throw .badManifest(path: reader.path, key: reader.name + "ids", expected: "ids that differ")
    }
  }

  fileprivate var json: JSONValue {
    [
      "name": .string(name), "ids": .array(ids.map(JSONValue.string)),
      "labels": .array(labels.map(JSONValue.integer)),
      "shards": .array(
        shards.map {
          [
            "file": .string($0.file), "samples": .integer($0.samples), "bytes": .integer($0.bytes),
            "sha256": .string($0.sha256),
          ]
        }),
    ]
  }
}

extension PackedManifest {
  /// Whether a name leads to no other folder.
  static func isPlain(_ name: String) -> Bool {
    !name.isEmpty && !name.hasPrefix(".") && !name.utf8.contains(UInt8(ascii: "/")) && !name.utf8.contains(0)
  }
}

extension PackedModality {
  /// The longest side of a picture, and the most elements of a sample.
  static let sideLimit = 4096
  static let elementLimit = 1 << 28

  fileprivate init(_ reader: ManifestReader) throws(PackedDataError) {
    let (path, prefix) = (reader.path, reader.name)
    let name = try reader.text("name")
    guard !name.isEmpty, name.utf8.allSatisfy(Self.isNameByte) else {
      throw .badManifest(path: path, key: prefix + "name", expected: "letters, digits, - and _")
    }
    guard let kind = Kind(rawValue: try reader.text("kind")) else {
      throw .badManifest(
        path: path, key: prefix + "kind",
        expected: Kind.allCases.map { $0.rawValue.inQuotes }.joined(separator: ", "))
    }
    let shape = try reader.integers("shape", in: 1...Self.elementLimit)
    let ranks: ClosedRange<Int> =
      switch kind {
      case .pictures: 4...4
      case .features: 1...3
      case .sequence: 1...1
      case .text: 0...0
      }
    let elements = shape.reduce(1.0) { $0 * Double($1) }
    guard ranks.contains(shape.count), elements <= Double(Self.elementLimit) else {
      throw .badManifest(path: path, key: prefix + "shape", expected: "the sizes of \(kind.rawValue)")
    }
    self.init(name: name, kind: kind, shape: shape)
    if kind == .pictures { try readPictures(reader) }
    try reader.finish()
  }

  private mutating func readPictures(_ reader: ManifestReader) throws(PackedDataError) {
    let (path, prefix) = (reader.path, reader.name)
    guard shape[1] == shape[2], shape[1] <= Self.sideLimit, shape[3] <= 3 else {
      throw .badManifest(
        path: path, key: prefix + "shape", expected: "[frames, side, side, channels], at most 3 channels")
    }
    mean = try reader.numbers("mean")
    deviation = try reader.numbers("std")
    guard mean.count == shape[3], deviation.count == shape[3], deviation.allSatisfy({ $0 > 0 }) else {
      throw .badManifest(
        path: path, key: prefix + "std", expected: "a mean and a std above 0 of each channel")
    }
    inputSide = try reader.integer("input_side", in: 1...shape[1])
    cropsCentre = try reader.bool("crops_centre")
    let change = try reader.value("augmentation")
    guard !change.isNull else {
      augmentation = nil
      return
    }
    let entry = try ManifestReader(path: path, name: prefix + "augmentation.", change)
    let (scale, ratio) = (try entry.numbers("crop_scale"), try entry.numbers("crop_ratio"))
    let flip = try entry.numbers("flip")
    try entry.finish()
    guard scale.count == 2, ratio.count == 2, flip.count == 1, 0 < scale[0], scale[0] <= scale[1],
      scale[1] <= 1, 0.01 <= ratio[0], ratio[0] <= ratio[1], ratio[1] <= 100, 0...1 ~= flip[0]
    else {
      throw .badManifest(
        path: path, key: prefix + "augmentation",
        expected: "rising scales in 0...1, rising ratios, a probability")
    }
    var augmentation = PictureAugmentation()
    (augmentation.cropScale, augmentation.cropRatio) = (scale[0]...scale[1], ratio[0]...ratio[1])
    augmentation.flipProbability = flip[0]
    self.augmentation = augmentation
  }

  /// The bytes of names of modalities, which also name tensors.
  static func isNameByte(_ byte: UInt8) -> Bool {
    UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte || UInt8(ascii: "A")...UInt8(ascii: "Z") ~= byte
      || UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte || byte == UInt8(ascii: "-")
      || byte == UInt8(ascii: "_")
  }

  /// The entry of the manifest.
  var json: JSONValue {
    var object = JSONObject([
      ("name", .string(name)), ("kind", .string(kind.rawValue)),
      ("shape", .array(shape.map(JSONValue.integer))),
    ])
    guard kind == .pictures else { return .object(object) }
    object["mean"] = .array(mean.map(JSONValue.number))
    object["std"] = .array(deviation.map(JSONValue.number))
    object["input_side"] = .integer(inputSide)
    object["crops_centre"] = .bool(cropsCentre)
    object["augmentation"] =
      augmentation.map { augmentation in
        [
          "crop_scale": [
            .number(augmentation.cropScale.lowerBound), .number(augmentation.cropScale.upperBound),
          ],
          "crop_ratio": [
            .number(augmentation.cropRatio.lowerBound), .number(augmentation.cropRatio.upperBound),
          ],
          "flip": [.number(augmentation.flipProbability)],
        ]
      } ?? .null
    return .object(object)
  }
}

/// Reads an object of a manifest: every key must be there, be of its kind, and be asked for.
final class ManifestReader {
  let path: String
  /// What stands before the keys in messages.
  let name: String
  private let object: JSONObject
  private var known: Set<String> = []

  init(path: String, name: String, _ value: JSONValue) throws(PackedDataError) {
    guard let object = value.objectValue else {
      throw .badManifest(
        path: path, key: name.isEmpty ? "the document" : String(name.dropLast()), expected: "an object")
    }
    (self.path, self.name, self.object) = (path, name, object)
  }

  private func failure(_ key: String, _ expected: String) -> PackedDataError {
    .badManifest(path: path, key: name + key, expected: expected)
  }

  func value(_ key: String) throws(PackedDataError) -> JSONValue {
    known.insert(key)
    guard let value = object[key] else { throw failure(key, "present") }
    return value
  }

  func text(_ key: String) throws(PackedDataError) -> String {
    guard let text = try value(key).stringValue else { throw failure(key, "a text") }
    return text
  }

  func bool(_ key: String) throws(PackedDataError) -> Bool {
    guard let bool = try value(key).boolValue else { throw failure(key, "true or false") }
    return bool
  }

  func integer(_ key: String, in range: ClosedRange<Int>) throws(PackedDataError) -> Int {
    guard let number = try value(key).intValue, range.contains(number) else {
      throw failure(key, "a whole number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  private func list(_ key: String, _ expected: String) throws(PackedDataError) -> [JSONValue] {
    guard let list = try value(key).arrayValue else { throw failure(key, expected) }
    return list
  }

  func texts(_ key: String) throws(PackedDataError) -> [String] {
    let list = try list(key, "a list of texts")
    let texts = list.compactMap(\.stringValue)
    guard texts.count == list.count else { throw failure(key, "a list of texts") }
    return texts
  }

  func numbers(_ key: String) throws(PackedDataError) -> [Double] {
    let list = try list(key, "a list of numbers")
    let numbers = list.compactMap(\.doubleValue)
    guard numbers.count == list.count else { throw failure(key, "a list of numbers") }
    return numbers
  }

  func integers(_ key: String, in range: ClosedRange<Int>) throws(PackedDataError) -> [Int] {
    let expected = "a list of whole numbers from \(range.lowerBound) to \(range.upperBound)"
    let list = try list(key, expected)
    let numbers = list.compactMap(\.intValue)
    guard numbers.count == list.count, numbers.allSatisfy(range.contains) else {
      throw failure(key, expected)
    }
    return numbers
  }

  func objects(_ key: String) throws(PackedDataError) -> [ManifestReader] {
    var readers: [ManifestReader] = []
    for (index, element) in try list(key, "a list of objects").enumerated() {
      readers.append(try ManifestReader(path: path, name: "\(name)\(key)[\(index)].", element))
    }
    return readers
  }

  func finish() throws(PackedDataError) {
    if let key = object.keys.first(where: { !known.contains($0) }) {
      throw failure(key, "absent: the format has no such key")
    }
  }
}
