import Foundation
import RunKit
import TensorCore

/// Accuracy while one modality is missing or corrupted, all others as they are.
///
/// | column | the modality |
/// | --- | --- |
/// | zeroed | its feature is 0, as in Shapley values |
/// | noise | its input x is x + level · s · ε, ε standard normal of a stream of every sample, s the standard deviation of all its inputs of the split |
/// | shuffled | its feature is that of another sample, in a random order of the split |
///
/// The same ε, of the seed of the run, is used at every level. Inputs that are all whole numbers are counts or word
/// numbers, to which noise cannot be added: there is none. Steps of zeros before the first and behind the last step of a
/// sequence are padding: they stay 0, and s is without them.
public struct RobustnessScores: Equatable, Sendable {
  /// Noise in standard deviations.
  public static let noiseLevels = [0.5, 1, 2]

  /// One modality.
  public struct Row: Equatable, Sendable {
    /// Its name.
    public let modality: String
    /// Accuracy without it.
    public let zeroed: Double
    /// Accuracy with noise of each level; empty where there can be none.
    public let noisy: [Double]
    /// Accuracy with another sample's.
    public let shuffled: Double
  }

  /// One for each modality, in order.
  public let rows: [Row]

  init(rows: [Row]) { self.rows = rows }

  /// As results hold it.
  var json: JSONValue {
    [
      "noise_levels": .array(Self.noiseLevels.map(JSONValue.number)),
      "modalities": .array(
        rows.map { row in
          [
            "name": .string(row.modality), "zeroed": .number(row.zeroed),
            "noise": row.noisy.isEmpty ? .null : .array(row.noisy.map(JSONValue.number)),
            "shuffled": .number(row.shuffled),
          ]
        }),
    ]
  }

  /// Reads what was written; nil for anything else.
  init?(_ value: JSONValue) {
    guard let listed = value["modalities"]?.arrayValue else { return nil }
    var rows: [Row] = []
    for item in listed {
      guard let name = item["name"]?.stringValue, let zeroed = item["zeroed"]?.doubleValue,
        let shuffled = item["shuffled"]?.doubleValue
      else { return nil }
      let noisy = item["noise"]?.arrayValue?.compactMap(\.doubleValue) ?? []
      rows.append(Row(modality: name, zeroed: zeroed, noisy: noisy, shuffled: shuffled))
    }
    self.rows = rows
  }

  /// Titles and cells of several methods, means over seeds in percent.
  ///
  /// - Parameter runs: Every run of every method, in the order of rows.
  static func table(_ runs: [(label: String, results: [BenchResult])]) -> PrintedTable? {
    func mean(_ values: [Double]) -> String {
      PrintedTable.percent(values.isEmpty ? nil : values.reduce(0, +) / Double(values.count))
    }
    var cells: [[String]] = []
    for (label, results) in runs {
      let found = results.compactMap { result in result.robustness.map { (result.accuracy, $0) } }
      guard let first = found.first?.1 else { continue }
      for (place, row) in first.rows.enumerated() {
        let rows = found.compactMap { place < $0.1.rows.count ? $0.1.rows[place] : nil }
        let noise = noiseLevels.indices.map { level in
          mean(rows.compactMap { level < $0.noisy.count ? $0.noisy[level] : nil })
        }
        cells.append(
          [label, row.modality, mean(found.map(\.0)), mean(rows.map(\.zeroed))] + noise
            + [mean(rows.map(\.shuffled))])
      }
    }
    if cells.isEmpty { return nil }
    let levels = noiseLevels.map { "noise \(Decimals.text($0, places: 1))" }
    return PrintedTable(
      titles: ["method", "corrupted", "none"] + ["zeroed"] + levels + ["shuffled"], rows: cells,
      notes: [
        "accuracy on test samples while one modality is missing or corrupted, mean over seeds in percent; noise in standard "
          + "deviations of the inputs"
      ])
  }
}

extension ClassicTask {
  /// What is left of the accuracy on a split when one modality is missing or corrupted.
  func robustness(of split: ClassicSplit, _ features: [Tensor], _ parameters: Parameters) -> RobustnessScores
  {
    let everything = Array(repeating: true, count: model.count)
    func accuracy(_ index: Int, _ changed: Tensor, present: [Bool]) -> Double {
      var all = features
      all[index] = changed
      let logits = method.evaluationLogits(model, all, present: present, parameters)
      return Classification.accuracy(Classification.predictions(logits), split.labels)
    }
    let rows = model.names.enumerated().map { index, name -> RobustnessScores.Row in
      let feature = features[index]
      let others = everything.indices.map { $0 != index }
      return RobustnessScores.Row(
        modality: name, zeroed: accuracy(index, Tensor(zeros: feature.shape), present: others),
        noisy: noisyFeatures(index, split, parameters).map { accuracy(index, $0, present: everything) },
        shuffled: accuracy(
          index, shuffled(feature, index, samples: split.labels.count), present: everything))
    }
    return RobustnessScores(rows: rows)
  }

  /// Features in a random order of the samples, each with all of its positions.
  private func shuffled(_ feature: Tensor, _ index: Int, samples: Int) -> Tensor {
    var stream = RandomStream(seed: seed, purpose: "shuffled " + model.names[index])
    let positions = feature.rows / max(1, samples)
    let order = stream.permutation(of: samples)
    return feature.gatherRows(order.flatMap { sample in (0..<positions).map { sample * positions + $0 } })
  }

  /// Features of inputs with noise of each level; none where inputs are whole numbers.
  private func noisyFeatures(_ index: Int, _ split: ClassicSplit, _ parameters: Parameters) -> [Tensor] {
    let rows = split.rows[index]
    let panels = stride(from: 0, to: rows.count, by: split.panelSize).map {
      Array($0..<min(rows.count, $0 + split.panelSize))
    }
    guard let deviation = Self.deviation(rows, panels) else { return [] }
    var parts = [[Tensor]](repeating: [], count: RobustnessScores.noiseLevels.count)
    for panel in panels {
      let input = rows.tensor(panel, nil)
      let noise = Self.noise(for: input, samples: panel, seed: seed, modality: model.names[index])
      for (place, level) in RobustnessScores.noiseLevels.enumerated() {
        parts[place].append(model.features(index, of: input + Float(level * deviation) * noise, parameters))
      }
    }
    return parts.map(Tensor.concatenated)
  }

  /// Steps of zeros at both ends of each sequence, as places of numbers in order; none in inputs that are no sequences.
  ///
  /// - Parameter input: `[samples, steps, size]`, or anything else.
  static func padding(_ input: Tensor) -> [Range<Int>] {
    guard input.shape.count == 3, input.shape[2] > 0 else { return [] }
    let (values, steps, size) = (input.hostValues(), input.shape[1], input.shape[2])
    return (0..<input.shape[0]).flatMap { sample -> [Range<Int>] in
      let all = sample * steps * size..<(sample + 1) * steps * size
      let own = values[all]
      // A sequence of zeros alone is one of zeros, not of nothing.
      guard let first = own.firstIndex(where: { $0 != 0 }), let last = own.lastIndex(where: { $0 != 0 })
      else {
        return []
      }
      let begin = all.lowerBound + (first - all.lowerBound) / size * size
      let end = all.lowerBound + ((last - all.lowerBound) / size + 1) * size
      return [all.lowerBound..<begin, end..<all.upperBound]
    }
  }

  /// Standard normal numbers of a stream of every sample; 0 for padding.
  static func noise(for input: Tensor, samples: [Int], seed: Int, modality: String) -> Tensor {
    let size = input.count / max(1, samples.count)
    var draws = samples.flatMap { sample -> [Float] in
      var stream = RandomStream(seed: seed, purpose: "noise " + modality, id: sample)
      return (0..<size).map { _ in Float(stream.normal()) }
    }
    for range in padding(input) {
      for place in range { draws[place] = 0 }
    }
    return Tensor(draws, shape: input.shape)
  }

  /// The standard deviation of all numbers but padding; nil where all are whole.
  static func deviation(_ rows: any SampleRows, _ panels: [[Int]]) -> Double? {
    var (count, sum, squares, isWhole) = (0.0, 0.0, 0.0, true)
    for panel in panels {
      let input = rows.tensor(panel, nil)
      var values = input.hostValues()
      for range in Self.padding(input).reversed() { values.removeSubrange(range) }
      for value in values {
        let number = Double(value)
        count += 1
        sum += number
        squares += number * number
        if isWhole && value != value.rounded() { isWhole = false }
      }
    }
    guard !isWhole, count > 0 else { return nil }
    let mean = sum / count
    return max(0, squares / count - mean * mean).squareRoot()
  }
}
