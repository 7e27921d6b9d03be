import TensorCore

/// What the families of Qwen2-VL share beside the decoder: ids, how patches become rows, and positions on three axes.
///
/// The position of a text row is the same on every axis. The rows of an image or video that stands at position p have
///
///     (p + ⌊τ · interval⌋, p + y, p + x)
///
/// for step τ, row y and column x of its merged grid; what follows goes on at p + max(rows, columns). The interval is 1 for
/// images and in Qwen2-VL, and seconds · `tokens_per_second` for videos in Qwen2.5-VL.
///
/// Sources: Wang et al., "Qwen2-VL", 2024, arXiv:2409.12191, section 2.1; Bai et al., "Qwen2.5-VL", 2025, arXiv:2502.13923,
/// section 2.1.1; where a video is longer than it is high and wide, the next position is that of transformers 5.
struct QwenVLMedia: Sendable {
  let imageID: Int
  let videoID: Int
  let startID: Int
  let endID: Int
  /// Patches beside each other that become one row, in each direction.
  let mergeSize: Int
  /// Numbers in a patch.
  let patchSize: Int
  /// Positions in time for a second of video; nil where a step is one position.
  let stepsPerSecond: Int?

  /// - Parameters:
  ///   - reader: The whole configuration.
  ///   - text: The decoder's settings.
  /// - Throws: `ConfigurationError`.
  init(
    _ reader: ConfigurationReader, text: LLaMAConfiguration, mergeSize: Int, patchSize: Int,
    stepsPerSecond: Int?
  ) throws(ConfigurationError) {
    let ids = 0...(text.vocabularySize - 1)
    func id(_ key: String, _ fallback: Int) throws(ConfigurationError) -> Int {
      try reader.integer(key, in: ids, default: fallback < text.vocabularySize ? fallback : nil)
    }
    imageID = try id("image_token_id", 151_655)
    videoID = try id("video_token_id", 151_656)
    startID = try id("vision_start_token_id", 151_652)
    endID = try id("vision_end_token_id", 151_653)
    (self.mergeSize, self.patchSize, self.stepsPerSecond) = (mergeSize, patchSize, stepsPerSecond)
    guard Set([imageID, videoID, startID, endID]).count == 4 else {
      throw .outOfRange(
        path: reader.path, key: "image_token_id", found: "\(imageID)",
        expected: "another id than those of video, vision start and vision end")
    }
  }

  /// The settings of the decoder: those of the file itself, or of its `text_config`.
  ///
  /// - Throws: `ConfigurationError`, also without three sections of rotary positions.
  static func text(_ reader: ConfigurationReader, modelTypes: [String]) throws(ConfigurationError)
    -> LLaMAConfiguration
  {
    let section = try reader.section("text_config")
    try section?.refuse("model_type", unless: modelTypes.map { .string($0) })
    let text = try LLaMAConfiguration(
      section ?? reader, defaults: .qwen2VL, outer: section == nil ? nil : reader)
    guard text.rotarySections.count == 3 else {
      if text.rotarySections.isEmpty {
        throw .missingKey(path: reader.path, key: "rope_scaling.mrope_section")
      }
      throw reader.unsupported(
        "rope_scaling.mrope_section", found: "\(text.rotarySections)", supported: "three sections")
    }
    return text
  }

  /// `image_token_id` or `video_token_id`.
  func placeholderID(of modality: Modality) -> Int? {
    switch modality {
    case .image: imageID
    case .video: videoID
    default: nil
    }
  }

  /// The marks around media separate.
  func fixedRole(of id: Int) -> Role? { id == startID || id == endID ? .separator : nil }

  /// A medium of two steps and four by four blocks, or one step for an image, all 0.
  func example(of modality: Modality) -> Medium? {
    guard placeholderID(of: modality) != nil else { return nil }
    var layout = Medium.Layout()
    let side = 4 * mergeSize
    let grid = Medium.PatchGrid(time: modality == .video ? 2 : 1, height: side, width: side)
    layout.patchGrid = grid
    if modality == .video && stepsPerSecond != nil { layout.secondsPerStep = 1 }
    return Medium(
      modality: modality, shape: [grid.count, patchSize],
      values: .numbers([Float](repeating: 0, count: grid.count * patchSize)), layout: layout, identity: "")
  }

  /// Checks that a medium is patches in a grid of whole blocks.
  func validate(_ medium: Medium, sample: String) throws(PromptError) {
    guard placeholderID(of: medium.modality) != nil else {
      throw .unsupportedModality(
        sample: sample, modality: medium.modality.rawValue, supported: ["image", "video"])
    }
    guard let grid = medium.layout.patchGrid else {
      throw .unusableMedium(
        sample: sample, modality: medium.modality.rawValue, found: "no grid of patches",
        expected: "patches in a grid")
    }
    let sides = [grid.height, grid.width]
    guard (1...(1 << 20)).contains(grid.time),
      sides.allSatisfy({ (1...(1 << 16)).contains($0) && $0 % mergeSize == 0 })
    else {
      throw .unusableMedium(
        sample: sample, modality: medium.modality.rawValue,
        found: "a grid of \(grid.time) x \(grid.height) x \(grid.width) patches",
        expected: "heights and widths that are multiples of \(mergeSize)")
    }
    guard medium.shape == [grid.count, patchSize] else {
      throw .wrongMediumShape(
        sample: sample, modality: medium.modality.rawValue, found: medium.shape,
        expected: [grid.count, patchSize])
    }
    if let seconds = medium.layout.secondsPerStep, !(seconds >= 0 && seconds < 1e6) {
      throw .unusableMedium(
        sample: sample, modality: medium.modality.rawValue, found: "\(seconds) seconds between its steps",
        expected: "a number from 0 to a million")
    }
    try medium.requireNumbers(sample: sample)
  }

  /// The grid of merged blocks of a valid medium.
  func grid(of medium: Medium) -> Medium.PatchGrid {
    require(medium.layout.patchGrid != nil, "a medium without a grid was not validated")
    return (medium.layout.patchGrid ?? Medium.PatchGrid(time: 0, height: 0, width: 0)).merged(by: mergeSize)
  }

  /// A grid of rows for each step in time.
  func rowParts(of medium: Medium) -> [MediumPart] {
    let grid = grid(of: medium)
    return Array(
      repeating: .grid(SpanMap.Grid(rows: grid.height, columns: grid.width)), count: grid.time)
  }

  /// Positions in time, height and width.
  func positions(_ spans: SpanMap, media: [Medium]) -> RowPositions {
    var axes: [[Int]] = [[], [], []]
    var next = 0
    for span in spans.spans {
      guard let index = span.medium, let rows = span.rows else {
        for axis in axes.indices { axes[axis] += next..<next + span.positions.count }
        next += span.positions.count
        continue
      }
      let medium = media[index]
      let grid = grid(of: medium)
      let perStep = grid.height * grid.width
      let interval = interval(of: medium)
      for row in rows {
        axes[0].append(next + Int(Float(row / perStep) * interval))
        axes[1].append(next + row % perStep / grid.width)
        axes[2].append(next + row % grid.width)
      }
      if rows.upperBound == grid.count { next += max(grid.height, grid.width) }
    }
    return RowPositions(axes: axes)
  }

  /// Positions between two steps in time, computed in float32 as the reference does.
  private func interval(of medium: Medium) -> Float {
    guard medium.modality == .video, let stepsPerSecond else { return 1 }
    return Float(stepsPerSecond) * Float(medium.layout.secondsPerStep ?? 1)
  }

  /// The names of the media tensors. `mm_token_type_ids` says again which ids are placeholders.
  var inputs: [String] {
    ["pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw", "mm_token_type_ids"]
      + (stepsPerSecond == nil ? [] : ["second_per_grid_ts"])
  }

  /// Images and videos of raw inputs.
  func media(from tensors: MediaTensors) throws -> [Medium] {
    try media(from: tensors, .image, patches: "pixel_values", grids: "image_grid_thw", seconds: nil)
      + media(
        from: tensors, .video, patches: "pixel_values_videos", grids: "video_grid_thw",
        seconds: stepsPerSecond == nil ? nil : "second_per_grid_ts")
  }

  private func media(
    from tensors: MediaTensors, _ modality: Modality, patches: String, grids: String, seconds: String?
  ) throws -> [Medium] {
    guard let pixels = try tensors.floats(patches, shape: [nil, patchSize]) else {
      if tensors.has(grids) { throw tensors.missing(patches) }
      return []
    }
    guard let grid = try tensors.integers(grids, shape: [nil, 3]) else { throw tensors.missing(grids) }
    let count = grid.shape[0]
    let secondsPerStep = try seconds.flatMap { try tensors.floats($0, shape: [count]) }?.values
    let limit = pixels.shape[0]
    var (media, start): ([Medium], Int) = ([], 0)
    for index in 0..<count {
      let sizes = Array(grid.values[3 * index..<3 * index + 3])
      let expected = "grids whose patches add up to the \(limit) rows of \(patches)"
      guard sizes.allSatisfy({ 1...limit ~= $0 }) else {
        throw TraceError.wrongValue(path: tensors.path, name: grids, found: "\(sizes)", expected: expected)
      }
      var layout = Medium.Layout()
      let own = Medium.PatchGrid(time: sizes[0], height: sizes[1], width: sizes[2])
      guard own.height <= limit / own.width, own.time <= limit / (own.height * own.width),
        start + own.count <= limit, index + 1 < count || start + own.count == limit
      else {
        throw TraceError.wrongValue(path: tensors.path, name: grids, found: "\(sizes)", expected: expected)
      }
      layout.patchGrid = own
      layout.secondsPerStep = secondsPerStep.map { Double($0[index]) }
      let end = start + own.count
      media.append(
        Medium(
          modality: modality, shape: [own.count, patchSize],
          values: .numbers(Array(pixels.values[start * patchSize..<end * patchSize])), layout: layout,
          identity: "\(patches)/\(index)"))
      start = end
    }
    return media
  }
}
