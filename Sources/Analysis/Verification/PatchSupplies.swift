import TensorCore
import TokenModel

/// Patches of images and videos that stand alone in a reference file and serve the cases whose grids are theirs.
///
/// A prefix with `pixel_values` `[patches, numbers]` and `grid_thw` `[1, 3]`, and without ids, is one medium:
/// `imageA.pixel_values`, `imageA.grid_thw`. A case that has `image_grid_thw` or `video_grid_thw` and no patches takes the
/// media with these grids; a grid that several media have says nothing. Outputs of the tower may stand beside the patches:
/// `attn.N`, `block.N` for what leaves a layer, `merged` for what the decoder gets.
struct PatchSupplies {
  /// One medium.
  private struct Supply {
    let prefix: String
    let grid: [Int]
    let pixels: StoredTensor
  }

  private var supplies: [Supply] = []
  /// The names in `mediaInputs` that go together.
  private static let kinds = [
    (pixels: "pixel_values", grids: "image_grid_thw"),
    (pixels: "pixel_values_videos", grids: "video_grid_thw"),
  ]

  /// Finds the media; none for a family without grids.
  init(_ tensors: [StoredTensor], model: any LanguageModel) {
    guard model.mediaInputs.contains("image_grid_thw") else { return }
    let names = Set(tensors.map(\.name))
    for tensor in tensors where tensor.name.hasSuffix(".grid_thw") {
      let prefix = String(tensor.name.dropLast(".grid_thw".count))
      guard !names.contains(prefix + ".input_ids"), tensor.elementCount == 3,
        let grid = try? tensor.integers(),
        let pixels = tensors.first(where: { $0.name == prefix + ".pixel_values" })
      else { continue }
      supplies.append(Supply(prefix: prefix, grid: grid, pixels: pixels))
    }
  }

  /// The prefix of a medium that a name stands under; nil for other names.
  func prefix(of name: String) -> String? { supplies.map(\.prefix).first { name.hasPrefix($0 + ".") } }

  /// What a tensor under such a prefix is called in a trace, if it is an output.
  static func capture(_ name: String) -> String? {
    let plain = name.hasSuffix("_f64") ? String(name.dropLast(4)) : name
    if plain == "merged" { return "vision.projected" }
    let parts = plain.split(separator: ".")
    guard parts.count == 2, let layer = Int(parts[1]) else { return nil }
    switch parts[0] {
    case "block": return "vision.layers.\(layer).output"
    case "attn": return "vision.attention.\(layer)"
    default: return nil
    }
  }

  /// The case of each medium alone, with the outputs of the tower.
  ///
  /// - Parameter outputs: Those under the prefixes, by prefix.
  func cases(_ outputs: [String: [ReferenceFile.Output]]) throws -> [ReferenceFile.Case] {
    try supplies.compactMap { supply in
      guard let own = outputs[supply.prefix], !own.isEmpty else { return nil }
      let grid = try StoredTensor(name: "image_grid_thw", shape: [1, 3], integers: supply.grid)
      return ReferenceFile.Case(
        prefix: supply.prefix, inputs: [supply.pixels.renamed("pixel_values"), grid], outputs: own)
    }
  }

  /// The patches a case lacks, joined in the order of its grids.
  func missing(_ inputs: [StoredTensor]) throws -> [StoredTensor] {
    func has(_ name: String) -> StoredTensor? { inputs.first { $0.name == name } }
    return try Self.kinds.compactMap { kind in
      guard has(kind.pixels) == nil, let grids = try has(kind.grids)?.integers() else { return nil }
      var (values, rows, columns): ([Float], Int, Int) = ([], 0, 0)
      for start in stride(from: 0, to: grids.count - 2, by: 3) {
        let found = supplies.filter { $0.grid == Array(grids[start..<start + 3]) }
        guard found.count == 1, found[0].pixels.shape.count == 2 else { return nil }
        values += try found[0].pixels.floats()
        (rows, columns) = (rows + found[0].pixels.shape[0], found[0].pixels.shape[1])
      }
      return rows == 0 ? nil : try StoredTensor(name: kind.pixels, shape: [rows, columns], floats: values)
    }
  }
}
