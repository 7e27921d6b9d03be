import Foundation
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import PEFT

/// The layer of the authors' two code trees: the case `moka`.
final class MokAOracleTests: XCTestCase {
  private static let (batch, width, inputs, outputs) = (2, 14, 24, 20)

  private func tensor(_ oracle: OracleCase, _ name: String, _ shape: [Int]) throws -> Tensor {
    Tensor(try oracle.stored(name).floats(), shape: shape)
  }

  /// What each real row is for; rows of padding are at the end of a sequence.
  private func context(
    _ oracle: OracleCase, question: String, text: String, media: [(mask: String, role: Role)]
  ) throws -> (context: TokenContext, rows: [Int]) {
    let isQuestion = try oracle.stored(question).floats()
    let isText = try oracle.stored(text).floats()
    let masks = try media.map { (mask: try oracle.stored($0.mask).floats(), role: $0.role) }
    var (roles, rows, lengths) = ([Role](), [Int](), [Int]())
    for sequence in 0..<Self.batch {
      let before = rows.count
      for row in sequence * Self.width..<(sequence + 1) * Self.width {
        // A hole in the question is other text.
        let medium = masks.first { $0.mask[row] == 1 }?.role
        guard
          let role = medium ?? (isText[row] == 1 ? (isQuestion[row] == 1 ? .question : .instruction) : nil)
        else { continue }
        rows.append(row)
        roles.append(role)
      }
      lengths.append(rows.count - before)
    }
    let context = TokenContext(
      segments: RowSegments(lengths: lengths), positions: Array(rows.indices), roles: roles)
    return (context, rows)
  }

  /// A layer whose matrices are leaves, its output for the real rows, and the gradients of all.
  private func run(
    _ oracle: OracleCase, _ settings: MokASettings, scale: Float, downs: [String], up: String,
    _ rows: (context: TokenContext, rows: [Int]), allowingUnused: Bool = false
  ) throws -> (output: Tensor, gradients: [Tensor]) {
    let (inputs, outputs, all) = (Self.inputs, Self.outputs, Self.batch * Self.width)
    let base = Linear(
      weight: LinearWeight(try tensor(oracle, "weight", [outputs, inputs])),
      bias: try tensor(oracle, "bias", [outputs]))
    let tape = Tape()
    let x = tape.leaf(try tensor(oracle, "x", [all, inputs]).gatherRows(rows.rows))
    let a = try downs.map { tape.leaf(try tensor(oracle, $0, [4, inputs])) }
    let b = tape.leaf(try tensor(oracle, up, [outputs, 4]))
    let layer = MokALinear(base, downs: a, ups: [b], scale: scale, settings: settings)
    let output = layer(x, rows.context)
    let seed = try tensor(oracle, "grad_output", [all, outputs]).gatherRows(rows.rows)
    let gradients = tape.gradients(of: output, for: [x] + a + [b], seed: seed)
    let found = try allowingUnused ? gradients.compactMap(\.self) : gradients.map { try XCTUnwrap($0) }
    return (output.detached, found)
  }

  /// Rows at their places, with those of the frozen layer where there is padding.
  private func padded(_ rows: Tensor, at places: [Int], over base: [Float]) -> [Float] {
    Tensor(base, shape: [Self.batch * Self.width, rows.columns]).replacingRows(places, with: rows)
      .hostValues()
  }

  func testTheAudioVisualTextRelease() throws {
    let oracle = try OracleCase("moka")
    var settings = MokASettings(.mokaAVTRelease, media: [.video, .audio])
    settings.weights = [0, 0.5, 0.5]
    let base = Linear(
      weight: LinearWeight(try tensor(oracle, "weight", [Self.outputs, Self.inputs])),
      bias: try tensor(oracle, "bias", [Self.outputs]))
    let all = Self.batch * Self.width
    let frozen = base(
      try tensor(oracle, "x", [all, Self.inputs]),
      TokenContext(roles: [Role](repeating: .question, count: all)))
    let padding = try tensor(oracle, "grad_output", [all, Self.outputs]).matmul(
      try tensor(oracle, "weight", [Self.outputs, Self.inputs]))
    for (name, question) in [("avt", "mask.question"), ("avt_hole", "mask.question_hole")] {
      let rows = try context(
        oracle, question: question, text: "mask.text",
        media: [("mask.video", .video), ("mask.audio", .audio)])
      XCTAssertEqual(rows.rows.count, 27, "one row is padding")
      let found = try run(
        oracle, settings, scale: 4, downs: ["avt.lora_A0", "avt.lora_A1", "avt.lora_A2"], up: "avt.lora_B0",
        rows)
      try oracle.compare(frozen.hostValues(), with: "\(name).base_output", absolute: 2e-5)
      let output = padded(found.output, at: rows.rows, over: frozen.hostValues())
      for key in ["output", "output_f64", "output_infer_prefill"] {
        try oracle.compare(output, with: "\(name).\(key)", absolute: 2e-5)
      }
      let x = padded(found.gradients[0], at: rows.rows, over: padding.hostValues())
      try oracle.compare(x, with: "\(name).grad.x", absolute: 1e-4)
      for (index, key) in ["lora_A0", "lora_A1", "lora_A2", "lora_B0"].enumerated() {
        try oracle.compare(
          found.gradients[index + 1].hostValues(), with: "\(name).grad.\(key)", absolute: 1e-4)
      }
      try compareDecoding(oracle, settings, base, name)
    }
    oracle.finish(excusing: { $0.hasPrefix("vt.") })
  }

  /// One new token: text alone, over a cache or not.
  private func compareDecoding(
    _ oracle: OracleCase, _ settings: MokASettings, _ base: Linear, _ name: String
  ) throws {
    let downs = try ["avt.lora_A0", "avt.lora_A1", "avt.lora_A2"].map {
      try tensor(oracle, $0, [4, Self.inputs])
    }
    let layer = MokALinear(
      base, downs: downs, ups: [try tensor(oracle, "avt.lora_B0", [Self.outputs, 4])], scale: 4,
      settings: settings)
    let x = try tensor(oracle, "x", [Self.batch * Self.width, Self.inputs])
    let expected = "\(name).output_infer_decode_1tok"
    let count = try oracle.stored(expected).shape[0]
    let cached = [[Role]](repeating: [.image, .question], count: count)
    let context = TokenContext(
      segments: RowSegments(lengths: [Int](repeating: 1, count: count)),
      positions: [Int](repeating: 2, count: count), roles: [Role](repeating: .response, count: count),
      cachedRoles: cached, phase: .decode)
    // The case decodes the first row of each sequence.
    let first = (0..<count).map { $0 * Self.width }
    try oracle.compare(layer(x.gatherRows(first), context).hostValues(), with: expected, absolute: 2e-5)
  }

  func testTheVisualTextRelease() throws {
    let oracle = try OracleCase("moka")
    var settings = MokASettings(.mokaVTRelease, media: [.image])
    settings.weights = [0, 0.7]
    let rows = try context(
      oracle, question: "mask.question", text: "vt.mask_text", media: [("vt.mask_image", .image)])
    XCTAssertEqual(rows.rows.count, 28)
    let found = try run(
      oracle, settings, scale: 2, downs: ["vt.lora_A_text", "vt.lora_A_image"], up: "vt.lora_B_text", rows)
    try oracle.compare(found.output.hostValues(), with: "vt.output", absolute: 2e-5)
    for (index, key) in ["x", "lora_A_text", "lora_A_image", "lora_B_text"].enumerated() {
      try oracle.compare(found.gradients[index].hostValues(), with: "vt.grad.\(key)", absolute: 1e-4)
    }
    // Without masks every row is text.
    let text = (
      context: TokenContext(
        segments: rows.context.segments, positions: Array(rows.rows.indices),
        roles: rows.rows.map { _ in .response }), rows: rows.rows
    )
    let plain = try run(
      oracle, settings, scale: 2, downs: ["vt.lora_A_text", "vt.lora_A_image"], up: "vt.lora_B_text", text,
      allowingUnused: true)
    try oracle.compare(plain.output.hostValues(), with: "vt.output_nomask", absolute: 2e-5)
    // The other release is the test above; masks are inputs, here of that release.
    oracle.finish(excusing: { $0.hasPrefix("avt") || $0.hasPrefix("mask.") })
  }
}
