import Foundation
import RunKit
import TensorCore
import TokenModel

/// Reads AVDigits: images and log-mel spectrograms of digits, and written clues.
///
/// | modality | input | default encoder |
/// | --- | --- | --- |
/// | image | `[8, 8, 1]`, (u8 / 255 − mean) / std | two convolutions |
/// | audio | `[40, 48, 1]`, likewise; time runs along the columns | two convolutions |
/// | text | how often each word of the vocabulary stands in the clue, or tokens | a layer of 64 and a linear map |
///
/// Nothing in the files is trusted: shapes, types, labels and counts of rows are checked.
struct AVDigitsData {
  private let folder: URL
  private let modalities: [Modality]
  private let document: JSONValue
  private let vocabulary: [[UInt8]: Int]
  private var hashes = JSONObject()
  private var encoders: [PreparedEncoder] = []
  private static let shapes: [Modality: [Int]] = [.image: [8, 8], .audio: [40, 48]]
  private static let textLimit = 1 << 22

  /// Reads all three splits.
  ///
  /// - Throws: `ClassicDataError`, `SafetensorsError`, `FileError`, `JSONLinesError`, and as
  ///   `EncoderChoice.prepared(for:)`.
  static func read(
    _ folder: URL, modalities: [Modality], encoders: EncoderChoices = .standard
  ) throws -> ClassicData {
    var reader = try AVDigitsData(folder, modalities)
    let classes = try reader.classes()
    reader.encoders = try encoders.prepared(for: modalities.map(reader.input))
    let training = try reader.split("train", classCount: classes.count)
    let validation = try reader.split("val", classCount: classes.count)
    let test = try reader.split("test", classCount: classes.count)
    for (name, hash) in try EncoderChoices.hashes(reader.encoders, modalities) { reader.hashes[name] = hash }
    return ClassicData(
      name: "avdigits", modalities: modalities, encoders: reader.encoders.map(\.encoder), classes: classes,
      training: training, validation: validation, test: test, hashes: reader.hashes)
  }

  private init(_ folder: URL, _ modalities: [Modality]) throws {
    (self.folder, self.modalities) = (folder, modalities)
    document = try Self.json(folder, "dataset.json")
    for modality in modalities where Self.shapes[modality] == nil && modality != .text {
      throw ClassicDataError.unknownModality(path: folder.path, name: modality.rawValue)
    }
    var words: [[UInt8]: Int] = [:]
    if modalities.contains(.text) {
      guard let list = try Self.json(folder, "vocab.json").arrayValue else {
        throw ClassicDataError.wrongDocument(
          path: folder.appendingPathComponent("vocab.json").path, key: "the document",
          expected: "a list of words")
      }
      // Words by their bytes: strings take different spellings of one character for equal.
      for (index, word) in list.enumerated() {
        guard let text = word.stringValue, words.updateValue(index, forKey: Array(text.utf8)) == nil else {
          throw ClassicDataError.wrongDocument(
            path: folder.appendingPathComponent("vocab.json").path, key: "item \(index)",
            expected: "a word that stands there once")
        }
      }
      guard !words.isEmpty else {
        throw ClassicDataError.wrongDocument(
          path: folder.appendingPathComponent("vocab.json").path, key: "the document",
          expected: "a list of at least one word")
      }
    }
    vocabulary = words
  }

  private static func json(_ folder: URL, _ name: String) throws -> JSONValue {
    let url = folder.appendingPathComponent(name)
    guard FileManager.default.fileExists(atPath: url.path) else {
      throw ClassicDataError.missingFile(path: url.path)
    }
    do {
      return try JSONValue(parsing: FileReader.bytes(of: url, limit: textLimit))
    } catch let error as FileError {
      throw error
    } catch {
      throw ClassicDataError.wrongDocument(path: url.path, key: "the document", expected: "JSON")
    }
  }

  private var documentPath: String { folder.appendingPathComponent("dataset.json").path }

  private func classes() throws -> [String] {
    let names = document["classes"]?.arrayValue?.compactMap(\.stringValue) ?? []
    guard names.count > 1 else {
      throw ClassicDataError.wrongDocument(path: documentPath, key: "classes", expected: "a list of names")
    }
    return names
  }

  private func input(_ modality: Modality) -> ModalityInput {
    let form: ModalityInput.Form =
      Self.shapes[modality].map { .numbers($0 + [1], stepsAreColumns: modality == .audio) }
      ?? .text(words: vocabulary)
    return ModalityInput(path: folder.path, name: modality.rawValue, form: form)
  }

  private mutating func split(_ name: String, classCount: Int) throws -> ClassicSplit {
    let url = folder.appendingPathComponent(name + ".safetensors")
    guard FileManager.default.fileExists(atPath: url.path) else {
      throw ClassicDataError.missingFile(path: url.path)
    }
    let file = try SafetensorsFile(path: url.path)
    hashes[name + ".safetensors"] = .string(try FileHashes().sha256(of: [url])[0])
    let labels = try file.tensor("label").integers()
    for (row, label) in labels.enumerated() where !(0..<classCount).contains(label) {
      throw ClassicDataError.labelOutOfRange(path: url.path, row: row, found: label, classes: classCount)
    }
    let inputs = try modalities.enumerated().map { index, modality in
      modality == .text
        ? try clues(name, count: labels.count, as: encoders[index].text)
        : try pictures(file, modality, count: labels.count)
    }
    return ClassicSplit(inputs: inputs, labels: labels)
  }

  private func pictures(_ file: SafetensorsFile, _ modality: Modality, count: Int) throws -> Tensor {
    let name = modality.rawValue
    let shape = Self.shapes[modality] ?? []
    let stored = try file.tensor(name)
    guard stored.elementType == .u8, stored.shape == [count, 1] + shape else {
      throw ClassicDataError.wrongTensor(
        path: file.path, tensor: name, found: "\(stored.elementType) of \(stored.shape)",
        expected: "u8 of \([count, 1] + shape)")
    }
    guard let mean = document["normalisation"]?[name]?["mean"]?.doubleValue,
      let deviation = document["normalisation"]?[name]?["std"]?.doubleValue, deviation > 0
    else {
      throw ClassicDataError.wrongDocument(
        path: documentPath, key: "normalisation.\(name)", expected: "a mean and a std above 0")
    }
    let values = stored.bytes().map { Float((Double($0) / 255 - mean) / deviation) }
    return Tensor(values, shape: [count] + shape + [1])
  }

  private mutating func clues(_ split: String, count: Int, as form: TextForm) throws -> Tensor {
    let url = folder.appendingPathComponent(split + ".jsonl")
    guard FileManager.default.fileExists(atPath: url.path) else {
      throw ClassicDataError.missingFile(path: url.path)
    }
    hashes[split + ".jsonl"] = .string(try FileHashes().sha256(of: [url])[0])
    let lines = try JSONLinesReader(url).remainingLines()
    guard lines.count == count else {
      throw ClassicDataError.wrongRows(path: url.path, found: lines.count, expected: count)
    }
    let texts = try lines.enumerated().map { row, line in
      guard let text = line.value["text"]?.stringValue else {
        throw ClassicDataError.wrongDocument(path: url.path, key: "text of row \(row)", expected: "a text")
      }
      return text
    }
    switch form {
    case .counts: return counts(texts)
    case .tokens(let tokens): return try tokens.inputs(texts)
    }
  }

  /// How often each word stands in each text.
  private func counts(_ texts: [String]) -> Tensor {
    let width = vocabulary.count
    var counts = [Float](repeating: 0, count: texts.count * width)
    let unknown = vocabulary[[UInt8]("<unk>".utf8)] ?? 0
    for (row, text) in texts.enumerated() {
      for word in text.utf8.split(separator: UInt8(ascii: " ")) {
        counts[row * width + (vocabulary[Array(word)] ?? unknown)] += 1
      }
    }
    return Tensor(counts, shape: [texts.count, width])
  }
}
