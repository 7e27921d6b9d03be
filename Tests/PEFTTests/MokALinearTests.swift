import Foundation
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import PEFT

/// What holds for MokA whatever its numbers are.
final class MokALinearTests: XCTestCase {
  private static let (inputs, outputs, rank) = (10, 7, 3)
  /// Two sequences: media, instruction, question, answer; and a question before its media.
  private static let roles: [Role] = [
    .bos, .image, .image, .image, .audio, .audio, .instruction, .question, .question, .question, .response,
    .response, .bos, .question, .question, .image, .image, .response,
  ]
  private static let lengths = [12, 6]
  private static let media: [Modality] = [.image, .audio]

  private static var context: TokenContext { context(roles) }

  private static func context(_ roles: [Role]) -> TokenContext {
    TokenContext(
      segments: RowSegments(lengths: lengths), positions: Array(roles.indices), roles: roles)
  }

  private static let base = Linear(
    weight: LinearWeight(randomTensor([outputs, inputs], seed: 1)), bias: randomTensor([outputs], seed: 2))

  private static func downs(_ seed: UInt64 = 3) -> [Tensor] {
    (0..<3).map { randomTensor([rank, inputs], seed: seed + UInt64($0)) }
  }

  private static func ups(_ count: Int = 1) -> [Tensor] {
    (0..<count).map { randomTensor([outputs, rank], seed: 20 + UInt64($0)) }
  }

  private static func layer(
    _ settings: MokASettings, downs: [Tensor] = downs(), ups: [Tensor]? = nil, scale: Float = 1.5
  ) -> MokALinear {
    MokALinear(
      base, downs: downs, ups: ups ?? self.ups(settings.sharesUp ? 1 : 3), scale: scale, settings: settings)
  }

  private let x = randomTensor([18, 10], seed: 40)

  private func settings(_ preset: MokASettings.Preset, weight: Double? = nil) -> MokASettings {
    var settings = MokASettings(preset, media: Self.media)
    if let weight { settings.weights = [0, weight, weight] }
    return settings
  }

  /// Row by row in Float64, as the formula of the settings says.
  ///
  /// - Parameter matrices: A of each modality, then B; those of the layer unless given.
  private func twin(
    _ settings: MokASettings, scale: Double, x: [[Double]], matrices: [[[Double]]]? = nil,
    adapted: [Bool] = [Bool](repeating: true, count: 18)
  ) -> [[Double]] {
    let downs = matrices.map { Array($0.prefix(3)) } ?? Self.downs().map { rows($0) }
    let ups = matrices.map { Array($0.dropFirst(3)) } ?? Self.ups(settings.sharesUp ? 1 : 3).map { rows($0) }
    let (weight, bias) = (rows(Self.base.weight.panel(0..<Self.outputs)), Self.base.bias?.doubles ?? [])
    let owners = Self.roles.map { $0 == .image ? 1 : $0 == .audio ? 2 : 0 }
    let projected = x.indices.map { row in downs[owners[row]].map { dot($0, x[row]) } }
    var middle = projected
    let gain = settings.gain == .scaleSquared ? scale * scale : 1
    func attended(_ query: [Double], _ keys: [[Double]]) -> [Double] {
      let logits = keys.map { gain * dot(query, $0) / Double(Self.rank).squareRoot() }
      let largest = logits.max() ?? 0
      let powers = logits.map { exp($0 - largest) }
      let sum = powers.reduce(0, +)
      return (0..<Self.rank).map { column in zip(powers, keys).reduce(0) { $0 + $1.0 / sum * $1.1[column] } }
    }
    for rows in [0..<12, 12..<18] {
      let questions = rows.filter { Self.roles[$0] == .question }
      for row in rows {
        switch settings.interaction {
        case .none: break
        case .mediaToText where owners[row] > 0:
          let added = attended(projected[row], questions.map { projected[$0] })
          for column in added.indices { middle[row][column] += settings.weights[owners[row]] * added[column] }
        case .mean where owners[row] > 0:
          for column in 0..<Self.rank {
            let sum = questions.reduce(0) { $0 + projected[$1][column] }
            middle[row][column] += settings.weights[owners[row]] * sum / Double(questions.count)
          }
        case .textToMedia where Self.roles[row] == .question:
          for owner in 1...2 {
            let keys = rows.filter { owners[$0] == owner }.map { projected[$0] }
            if keys.isEmpty { continue }
            let added = attended(projected[row], keys)
            for column in added.indices { middle[row][column] += settings.weights[owner] * added[column] }
          }
        default: break
        }
      }
    }
    return x.indices.map { row in
      let up = ups[settings.sharesUp ? 0 : owners[row]]
      let factor = adapted[row] ? scale : 0
      return weight.indices.map { dot(weight[$0], x[row]) + bias[$0] + factor * dot(up[$0], middle[row]) }
    }
  }

  private func rows(_ tensor: Tensor) -> [[Double]] { tensor.hostRows().map { $0.map { Double($0) } } }
  private func dot(_ left: [Double], _ right: [Double]) -> Double {
    zip(left, right).reduce(0) { $0 + $1.0 * $1.1 }
  }

  func testEveryPresetIsItsFormula() {
    for preset in MokASettings.Preset.allCases {
      var settings = settings(preset)
      if preset != .mokaVTRelease { settings.weights = [0, 0.7, 1.3] }
      // Float32 sums of at most 13 terms, through a softmax.
      assertClose(
        Self.layer(settings)(x, Self.context), twin(settings, scale: 1.5, x: rows(x)).flatMap { $0 },
        shape: [18, 7], absolute: 2e-5, "\(preset)")
    }
  }

  func testGradientsOfEveryPresetAreDifferencesOfTheFormula() {
    let seed = randomTensor([18, 7], seed: 50)
    for preset in MokASettings.Preset.allCases {
      var settings = settings(preset)
      settings.weights = [0, 0.7, 1.3]
      let tape = Tape()
      let leaf = tape.leaf(x)
      let output = Self.layer(settings)(leaf, Self.context)
      let found = tape.gradients(of: output, for: [leaf], seed: seed)[0]?.doubles ?? []
      XCTAssertEqual(found.count, 180)
      let step = 1e-5
      func value(_ index: Int, _ change: Double) -> Double {
        var moved = rows(x)
        moved[index / 10][index % 10] += change
        let output = twin(settings, scale: 1.5, x: moved).flatMap { $0 }
        return zip(output, seed.doubles).reduce(0) { $0 + $1.0 * $1.1 }
      }
      for index in stride(from: 0, to: 180, by: 7) {
        let expected = (value(index, step) - value(index, -step)) / (2 * step)
        XCTAssertEqual(found[index], expected, accuracy: 1e-4, "\(preset), element \(index)")
      }
    }
  }

  /// Of every matrix, with the adapter on for all rows and for those of one modality.
  func testGradientsOfEveryMatrixAreDifferencesOfTheFormula() {
    let seed = randomTensor([18, 7], seed: 52)
    for preset in MokASettings.Preset.allCases {
      for modalities in [nil, [.image], [.text]] as [Set<Modality>?] {
        var settings = settings(preset)
        settings.weights = [0, 0.7, 1.3]
        var context = Self.context
        context.adaptedModalities = modalities
        let (downs, ups) = (Self.downs(), Self.ups(settings.sharesUp ? 1 : 3))
        let tape = Tape()
        let leaves = (downs + ups).map { tape.leaf($0) }
        let layer = Self.layer(settings, downs: Array(leaves.prefix(3)), ups: Array(leaves.dropFirst(3)))
        let found = tape.gradients(of: layer(x, context), for: leaves, seed: seed)
        let points = (downs + ups).map { rows($0) }
        let adapted = context.adaptedRows ?? [Bool](repeating: true, count: 18)
        func value(_ matrix: Int, _ row: Int, _ column: Int, _ change: Double) -> Double {
          var moved = points
          moved[matrix][row][column] += change
          let output = twin(settings, scale: 1.5, x: rows(x), matrices: moved, adapted: adapted)
          return zip(output.flatMap { $0 }, seed.doubles).reduce(0) { $0 + $1.0 * $1.1 }
        }
        for (matrix, point) in points.enumerated() {
          let gradient = found[matrix]?.hostRows() ?? []
          XCTAssertEqual(gradient.count, point.count, "\(preset), matrix \(matrix)")
          for (row, values) in gradient.enumerated() {
            for column in stride(from: row % 3, to: values.count, by: 3) {
              let difference =
                (value(matrix, row, column, 1e-5) - value(matrix, row, column, -1e-5)) / 2e-5
              XCTAssertEqual(
                Double(values[column]), difference, accuracy: 1e-4 * max(1, abs(difference)),
                "\(preset), matrix \(matrix), row \(row), column \(column)")
            }
          }
        }
      }
    }
  }

  /// One entry for the layer's addition and one for its sum with the frozen output, however many modalities meet.
  func testTheAdditionIsOneOperation() {
    for preset in MokASettings.Preset.allCases {
      let settings = settings(preset)
      let ups = Self.ups(settings.sharesUp ? 1 : 3)
      let tape = Tape()
      let leaves = (Self.downs() + ups).map { tape.leaf($0) }
      let before = tape.count
      _ = Self.layer(settings, downs: Array(leaves.prefix(3)), ups: Array(leaves.dropFirst(3)))(
        x, Self.context)
      XCTAssertEqual(tape.count - before, 2, "\(preset)")
    }
  }

  func testAFreshAdapterChangesNothingAndLearnsBFirst() {
    for preset in MokASettings.Preset.allCases {
      let settings = settings(preset)
      let zeros = Self.ups(settings.sharesUp ? 1 : 3).map { Tensor(zeros: $0.shape) }
      let tape = Tape()
      let (downs, ups) = (Self.downs().map { tape.leaf($0) }, zeros.map { tape.leaf($0) })
      let output = Self.layer(settings, downs: downs, ups: ups)(x, Self.context)
      assertSameBits(output.detached, Self.base(x, Self.context), "\(preset)")
      let gradients = tape.gradients(
        of: output, for: downs + ups, seed: randomTensor([18, 7], seed: 51))
      for gradient in gradients.prefix(3) {
        XCTAssertEqual(gradient?.hostValues().allSatisfy { $0 == 0 }, true, "\(preset): A moves at once")
      }
      for gradient in gradients.dropFirst(3) {
        XCTAssertEqual(gradient?.hostValues().contains { $0 != 0 }, true, "\(preset): B does not move")
      }
    }
  }

  func testTextAloneIsLoRA() {
    let text = Self.context(Self.roles.map { $0 == .image || $0 == .audio ? .instruction : $0 })
    for preset in MokASettings.Preset.allCases {
      let lora = LoRALinear(Self.base, down: Self.downs()[0], up: Self.ups()[0], scale: 1.5)
      assertSameBits(Self.layer(settings(preset))(x, text), lora(x, text), "\(preset)")
    }
  }

  func testEqualMatricesWithoutAttentionAreLoRA() {
    let same = [Tensor](repeating: Self.downs()[0], count: 3)
    let lora = LoRALinear(Self.base, down: same[0], up: Self.ups()[0], scale: 1.5)(x, Self.context)
    for settings in [settings(.mokaPaper, weight: 0), settings(.noCrossAttention)] {
      let found = Self.layer(settings, downs: same)(x, Self.context)
      assertClose(found, lora.doubles, shape: [18, 7], absolute: 1e-6)
    }
  }

  /// The rows whose output changes when some rows of the input do.
  private func changed(by rows: [Int], _ settings: MokASettings) -> [Int] {
    let layer = Self.layer(settings)
    let before = layer(x, Self.context).hostRows()
    let other = x.replacingRows(rows, with: randomTensor([rows.count, 10], seed: 60))
    let after = layer(other, Self.context).hostRows()
    return before.indices.filter { before[$0] != after[$0] }
  }

  func testAnswersAreSeenByNoOtherRow() {
    for preset in MokASettings.Preset.allCases {
      XCTAssertEqual(changed(by: [10, 11], settings(preset)), [10, 11], "\(preset)")
      XCTAssertEqual(changed(by: [6], settings(preset)), [6], "\(preset): other text is no key either")
    }
  }

  func testAQuestionIsSeenByTheMediaOfItsSequence() {
    XCTAssertEqual(changed(by: [8], settings(.mokaPaper)), [1, 2, 3, 4, 5, 8])
    XCTAssertEqual(changed(by: [8], settings(.naive)), [1, 2, 3, 4, 5, 8])
    XCTAssertEqual(changed(by: [8], settings(.noCrossAttention)), [8])
    XCTAssertEqual(changed(by: [8], settings(.multiLoRA)), [8])
    XCTAssertEqual(changed(by: [8], settings(.textQuery)), [8])
    XCTAssertEqual(changed(by: [2], settings(.textQuery)), [2, 7, 8, 9])
    XCTAssertEqual(changed(by: [14], settings(.mokaPaper)), [14, 15, 16])
  }

  func testTheOrderOfTheQuestionDoesNotMatterToMedia() {
    let layer = Self.layer(settings(.mokaPaper))
    let order = Array(0..<7) + [9, 7, 8] + Array(10..<18)
    let (before, after) = (layer(x, Self.context), layer(x.gatherRows(order), Self.context))
    assertClose(
      after.gatherRows(order.indices.filter { Self.roles[$0] == .image || Self.roles[$0] == .audio }),
      before.gatherRows(order.indices.filter { Self.roles[$0] == .image || Self.roles[$0] == .audio })
        .doubles, shape: [7, 7], absolute: 1e-6)
  }

  func testASingleQuestionRowIsAddedWhole() {
    let roles = Self.roles.enumerated().map { $1 == .question && $0 != 7 && $0 != 13 ? .instruction : $1 }
    let context = Self.context(roles)
    let (with, without) = (settings(.mokaPaper, weight: 0.6), settings(.noCrossAttention))
    let difference = Self.layer(with)(x, context) - Self.layer(without)(x, context)
    let question = x.slice(7..<8).matmul(Self.downs()[0], transposingOther: true)
    let expected = ((1.5 * 0.6) * question).matmul(Self.ups()[0], transposingOther: true).doubles
    for row in [1, 2, 3, 4, 5] {
      assertClose(difference.slice(row..<row + 1), expected, shape: [1, 7], absolute: 2e-6, "row \(row)")
    }
  }

  func testScalingBeforeAttentionIsAGainOfTheScaleSquared() {
    var first = settings(.mokaAVTRelease)
    first.keys = .question
    // Scaled matrices and no scale behind: the form of the release.
    let scaled = Self.downs().map { 4 * $0 }
    var plain = settings(.mokaPaper)
    plain.gain = .number(1)
    let expected = Self.layer(plain, downs: scaled, scale: 1)(x, Self.context)
    assertClose(
      Self.layer(first, scale: 4)(x, Self.context), expected.doubles, shape: [18, 7], absolute: 5e-5)
    plain.gain = .number(1)
    let other = Self.layer(plain, scale: 4)(x, Self.context) - expected
    XCTAssertGreaterThan(other.hostValues().map { abs($0) }.max() ?? 0, 0.1, "the two forms differ")
  }

  func testRowsHaveTheSameBitsAloneAndInABatch() {
    for preset in MokASettings.Preset.allCases {
      let layer = Self.layer(settings(preset))
      let together = layer(x, Self.context)
      var start = 0
      for length in Self.lengths {
        let rows = start..<start + length
        let alone = layer(x.slice(rows), TokenContext(roles: Array(Self.roles[rows])))
        assertSameBits(alone, together.slice(rows), "\(preset), rows \(rows)")
        start += length
      }
    }
  }

  func testRowsOfAModalityWithoutAMatrixStayAsTheyAre() {
    let context = Self.context(Self.roles.map { $0 == .audio ? .audio : $0 })
    let settings = MokASettings(.mokaPaper, media: [.image])
    let layer = MokALinear(
      Self.base, downs: Array(Self.downs().prefix(2)), ups: Self.ups(), scale: 1.5, settings: settings)
    assertSameBits(
      layer(x, context).slice(4..<6), Self.base(x, context).slice(4..<6), "sound has no matrix")
  }

  func testOnlyAttentionMixesRows() {
    let mixing = MokASettings.Preset.allCases.filter { Self.layer(settings($0)).mixesRows }
    XCTAssertEqual(
      mixing, [.mokaPaper, .mokaAVTRelease, .mokaVTRelease, .textQuery, .naive])
    XCTAssertFalse(MokASettings.Preset.allCases.contains { Self.layer(settings($0)).isMergeable })
    XCTAssertFalse(LoRALinear(Self.base, down: Self.downs()[0], up: Self.ups()[0], scale: 1).mixesRows)
  }
}
