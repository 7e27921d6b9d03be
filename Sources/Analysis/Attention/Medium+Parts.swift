import TokenModel

extension Medium {
  /// What a span of rows shows, for a report: a tile where every tile has as many rows, the picture of a step in time where
  /// the medium is patches of Qwen2-VL, else the whole medium.
  ///
  /// - Parameters:
  ///   - rows: The medium's rows that stand in the span.
  ///   - total: All rows of the medium.
  ///   - grid: Rows and columns of the span.
  func part(rows: Range<Int>, of total: Int, grid: SpanMap.Grid) -> Medium {
    guard !rows.isEmpty else { return self }
    let index = rows.lowerBound / rows.count
    if shape.count == 4, total == shape[0] * rows.count {
      let size = shape.dropFirst().reduce(1, *)
      return Medium(
        modality: modality, shape: Array(shape.dropFirst()),
        values: .numbers(Array(numbers[index * size..<(index + 1) * size])), identity: identity)
    }
    if shape.count == 2, let patches = layout.patchGrid, index < patches.time, grid.rows > 0 {
      return step(index, patches, mergeSize: patches.height / grid.rows) ?? self
    }
    return self
  }

  /// The first frame of a step as an image of three channels; nil where the patches are of another kind.
  private func step(_ step: Int, _ patches: PatchGrid, mergeSize: Int) -> Medium? {
    let (channels, frames) = (3, 2)
    let side = Int(Double(shape[1] / channels / frames).squareRoot())
    guard mergeSize > 0, side > 0, side * side * channels * frames == shape[1] else { return nil }
    let (height, width) = (patches.height * side, patches.width * side)
    var pixels = [Float](repeating: 0, count: channels * height * width)
    let perStep = patches.height * patches.width
    for patch in 0..<perStep {
      // Blocks row by row, the patches of a block row by row.
      let (block, inside) = (patch / (mergeSize * mergeSize), patch % (mergeSize * mergeSize))
      let across = patches.width / mergeSize
      let row = block / across * mergeSize + inside / mergeSize
      let column = block % across * mergeSize + inside % mergeSize
      let start = (step * perStep + patch) * shape[1]
      for channel in 0..<channels {
        for line in 0..<side {
          let from = start + (channel * frames * side + line) * side
          let to = (channel * height + row * side + line) * width + column * side
          pixels.replaceSubrange(to..<to + side, with: numbers[from..<from + side])
        }
      }
    }
    return Medium(
      modality: modality, shape: [channels, height, width], values: .numbers(pixels), identity: identity)
  }
}
