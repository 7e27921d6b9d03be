import Foundation
public import RunKit
public import TokenModel

/// How media are varied from step to step, so that a model learns what they show and not which ones they are.
///
/// | key | meaning |
/// | --- | --- |
/// | `same_label` (false) | each medium is replaced by a random one of the same label |
/// | `image`, `audio` | objects of the keys below |
/// | `shift_probability` (0) | how often the medium is shifted |
/// | `rows`, `columns` (0) | the furthest shift along an axis: rows or mel bands, columns or frames |
/// | `item_noise` (0) | standard deviation of a number added to all elements of a medium |
/// | `noise` (0) | standard deviation of a number added to each element |
///
/// Deviations are in normalised units. A shift repeats the elements at the edge it moves away from.
public struct MediaAugmentation: Sendable, Equatable {
  /// The variation of one modality.
  public struct Variation: Sendable, Equatable {
    let shiftProbability: Double
    let rows: Int
    let columns: Int
    let itemNoise: Double
    let noise: Double

    init(_ reader: ExperimentReader) throws(ExperimentError) {
      shiftProbability = try reader.number("shift_probability", in: 0...1, default: 0)
      rows = try reader.integer("rows", in: 0...4096, default: 0)
      columns = try reader.integer("columns", in: 0...4096, default: 0)
      itemNoise = try reader.number("item_noise", in: 0...100, default: 0)
      noise = try reader.number("noise", in: 0...100, default: 0)
    }
  }

  /// Whether media are replaced by others of the same label.
  public let usesSameLabel: Bool
  private let image: Variation
  private let audio: Variation

  /// Reads the keys.
  ///
  /// - Throws: `ExperimentError`.
  public init(_ reader: ExperimentReader) throws(ExperimentError) {
    usesSameLabel = try reader.bool("same_label", default: false)
    image = try Variation(reader.section("image"))
    audio = try Variation(reader.section("audio"))
  }

  /// A varied copy of normalised elements.
  ///
  /// - Parameters:
  ///   - elements: Of the given shape; the last two axes are shifted.
  ///   - stream: Advanced.
  public func varied(
    _ elements: [Float], shape: [Int], _ modality: Modality, using stream: inout RandomStream
  ) -> [Float] {
    let variation = modality == .image ? image : audio
    var elements = elements
    if variation.shiftProbability > 0, stream.uniform() < variation.shiftProbability {
      let rows = stream.integer(below: 2 * variation.rows + 1) - variation.rows
      let columns = stream.integer(below: 2 * variation.columns + 1) - variation.columns
      elements = Self.shifted(elements, shape: shape, rows: rows, columns: columns)
    }
    let offset = variation.itemNoise > 0 ? Float(variation.itemNoise * stream.normal()) : 0
    if variation.noise > 0 {
      Self.addNoise(to: &elements, deviation: variation.noise, offset: offset, using: &stream)
    } else if offset != 0 {
      for index in elements.indices { elements[index] += offset }
    }
    return elements
  }

  /// Adds a normal number to every element: both numbers of each pair that Box and Muller's method gives.
  private static func addNoise(
    to elements: inout [Float], deviation: Double, offset: Float, using stream: inout RandomStream
  ) {
    for index in stride(from: 0, to: elements.count, by: 2) {
      let radius = deviation * (-2 * log(1 - stream.uniform())).squareRoot()
      let angle = 2 * Double.pi * stream.uniform()
      elements[index] += offset + Float(radius * cos(angle))
      if index + 1 < elements.count { elements[index + 1] += offset + Float(radius * sin(angle)) }
    }
  }

  /// Moves the last two axes down and to the right.
  static func shifted(_ elements: [Float], shape: [Int], rows: Int, columns: Int) -> [Float] {
    let (height, width) = (shape[shape.count - 2], shape[shape.count - 1])
    let planes = elements.count / (height * width)
    var shifted: [Float] = []
    shifted.reserveCapacity(elements.count)
    for plane in 0..<planes {
      for row in 0..<height {
        let start = (plane * height + min(max(row - rows, 0), height - 1)) * width
        for column in 0..<width { shifted.append(elements[start + min(max(column - columns, 0), width - 1)]) }
      }
    }
    return shifted
  }
}
