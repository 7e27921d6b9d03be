import RunKit
public import TensorCore

/// Runs raw inputs and hands out named intermediates, batched like the inputs.
///
/// Names: `logits`; `hidden.i`, the input of layer i, with `hidden.L` after the final norm; `attention.i`, the
/// probabilities of layer i; and every `TensorName`, such as `layers.2.query`. Rows of padding are 0. Where media expand, a
/// sequence keeps its side of padding and `attention_mask` says which rows are real.
public struct Trace {
  /// Something to hand out.
  enum Capture: Hashable {
    case tensor(TensorName)
    case attention(layer: Int)
  }

  private let model: any LanguageModel
  private let captures: [(name: String, capture: Capture)]

  /// Everything that is handed out when no list is given.
  public static func defaultNames(layerCount: Int) -> [String] {
    ["logits"] + (0...layerCount).map { "hidden.\($0)" } + (0..<layerCount).map { "attention.\($0)" }
  }

  /// - Parameter names: What to hand out; nil for logits, hidden states and attention.
  /// - Throws: `TraceError.unknownCapture`.
  public init(_ model: any LanguageModel, names: [String]? = nil) throws(TraceError) {
    self.model = model
    let layers = model.decoder.configuration.layerCount
    let names = names ?? Self.defaultNames(layerCount: layers)
    var captures: [(name: String, capture: Capture)] = []
    for name in names {
      guard let capture = Self.capture(name, layerCount: layers) else {
        throw .unknownCapture(
          name: name, nearest: NameSuggestion.nearest(to: name, in: Self.allNames(layerCount: layers)))
      }
      captures.append((name, capture))
    }
    self.captures = captures
  }

  /// Every name that can be captured.
  public static func allNames(layerCount: Int) -> [String] {
    let sites = TensorName.Site.allCases
    return defaultNames(layerCount: layerCount)
      + sites.filter { !$0.isInLayer && $0 != .logits }.map(\.rawValue)
      + (0..<layerCount).flatMap { layer in
        sites.filter(\.isInLayer).map { TensorName($0, layer: layer).description }
      }
  }

  private static func capture(_ name: String, layerCount: Int) -> Capture? {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    if parts.count == 2, let layer = Int(parts[1]), layer >= 0 {
      if parts[0] == "hidden", layer < layerCount { return .tensor(TensorName(.input, layer: layer)) }
      if parts[0] == "hidden", layer == layerCount { return .tensor(TensorName(.finalNorm)) }
      if parts[0] == "attention", layer < layerCount { return .attention(layer: layer) }
      return nil
    }
    guard let tensor = TensorName(name), tensor.layer.map({ $0 < layerCount }) ?? true else { return nil }
    return .tensor(tensor)
  }

  /// Runs the model.
  ///
  /// - Returns: One tensor for each name, and `attention_mask` if the batch is padded.
  /// - Throws: `PromptError`, `TraceError`.
  public func run(_ inputs: TraceInputs) throws -> [StoredTensor] {
    let batch = try Batch(inputs, model: model)
    let observer = CaptureObserver(Set(captures.map(\.capture)))
    var options = ForwardOptions()
    options.observers = [observer]
    options.logits = captures.contains { $0.capture == .tensor(TensorName(.logits)) } ? .all : .none
    _ = model.decoder.forward(batch.embeddings, context: batch.context, options: options)
    var outputs = try captures.map { name, capture -> StoredTensor in
      switch capture {
      case .tensor(let tensor): try batch.padded(observer.tensors[tensor], name: name)
      case .attention(let layer): try batch.paddedAttention(observer.attention[layer] ?? [], name: name)
      }
    }
    if batch.isPadded { outputs.append(try batch.mask()) }
    return outputs
  }
}

/// Keeps the captured tensors.
private final class CaptureObserver: ForwardObserver {
  private let captures: Set<Trace.Capture>
  var tensors: [TensorName: Tensor] = [:]
  var attention: [Int: [Tensor]] = [:]

  init(_ captures: Set<Trace.Capture>) { self.captures = captures }

  func wants(_ name: TensorName) -> Bool { captures.contains(.tensor(name)) }
  func observe(_ tensor: Tensor, _ name: TensorName, context: TokenContext) { tensors[name] = tensor }

  func attentionRequest(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionRequest? {
    guard captures.contains(.attention(layer: layer)) else { return nil }
    var request = AttentionRequest()
    request.wantsProbabilities = true
    return request
  }
  func observe(_ statistics: AttentionStatistics, layer: Int, context: TokenContext) {
    attention[layer] = statistics.probabilities
  }
}

extension TraceInputs {
  /// The rows that a model runs on, without padding: embeddings `[rows, hidden]` and what the rows are.
  ///
  /// - Throws: `PromptError`, `TraceError`.
  public func batch(for model: any LanguageModel) throws -> (embeddings: Tensor, context: TokenContext) {
    let batch = try Batch(self, model: model)
    return (batch.embeddings, batch.context)
  }
}

/// The ragged batch of raw inputs, and the way back to padded tensors.
private struct Batch {
  let embeddings: Tensor
  let context: TokenContext
  /// For each sequence, the padded places of its rows.
  private let places: [[Int]]
  private let width: Int

  init(_ inputs: TraceInputs, model: any LanguageModel) throws {
    var queues = Dictionary(grouping: inputs.media) { $0.modality }
    var prompts: [Prompt] = []
    for (index, row) in inputs.rows.enumerated() {
      var media: [Medium] = []
      for modality in model.modalities {
        let count = row.ids.count { $0 == model.placeholderID(of: modality) }
        let available = queues[modality, default: []]
        guard available.count >= count else {
          throw PromptError.placeholderMismatch(
            sample: "\(inputs.path): row \(index)", modality: modality.rawValue, placeholders: count,
            media: available.count)
        }
        media += available.prefix(count)
        queues[modality] = Array(available.dropFirst(count))
      }
      prompts.append(
        try model.expand(
          ids: row.ids, pieces: row.ids.map(String.init), roles: row.ids.map { _ in .question }, media: media,
          promptCount: row.ids.count, sample: "\(inputs.path): row \(index)"))
    }
    for (modality, rest) in queues.sorted(by: { $0.key < $1.key }) where !rest.isEmpty {
      let used = inputs.media.count { $0.modality == modality } - rest.count
      throw PromptError.placeholderMismatch(
        sample: inputs.path, modality: modality.rawValue, placeholders: used, media: used + rest.count)
    }
    let isExpanded = zip(prompts, inputs.rows).contains { $0.count != $1.ids.count }
    if isExpanded && inputs.rows.contains(where: { $0.positions != nil }) {
      throw TraceError.positionsWithMedia(path: inputs.path)
    }
    if isExpanded {
      let longest = prompts.map(\.count).max() ?? 0
      let padsLeft = inputs.rows.contains { $0.places.first != 0 }
      width = longest
      places = prompts.map { prompt in
        let start = padsLeft ? longest - prompt.count : 0
        return Array(start..<start + prompt.count)
      }
    } else {
      width = inputs.width
      places = inputs.rows.map(\.places)
    }
    // Without position_ids transformers counts padded places; expanded rows count from 0.
    let positions = zip(prompts, inputs.rows).flatMap { prompt, row in
      isExpanded ? Array(0..<prompt.count) : row.positions ?? row.places
    }
    embeddings = Tensor.concatenated(prompts.map { model.embeddings($0) })
    context = TokenContext(
      segments: RowSegments(lengths: prompts.map(\.count)), positions: positions,
      roles: prompts.flatMap(\.spans.roles))
  }

  var isPadded: Bool { places.contains { $0.count != width } }

  /// `[rows, …]` to `[batch, width, …]`.
  func padded(_ tensor: Tensor?, name: String) throws -> StoredTensor {
    let tensor = tensor ?? Tensor(zeros: [context.segments.rowCount, 0])
    let columns = tensor.columns
    let values = tensor.hostValues()
    let shape = [places.count, width, columns]
    guard isPadded else { return try StoredTensor(name: name, shape: shape, floats: values) }
    var target = [Float](repeating: 0, count: shape.reduce(1, *))
    for (sequence, places) in places.enumerated() {
      let first = context.segments[sequence].lowerBound
      for (row, place) in places.enumerated() {
        let (from, to) = ((first + row) * columns, (sequence * width + place) * columns)
        target.replaceSubrange(to..<to + columns, with: values[from..<from + columns])
      }
    }
    return try StoredTensor(name: name, shape: shape, floats: target)
  }

  /// `[heads, rows, keys]` of each sequence to `[batch, heads, width, width]`.
  func paddedAttention(_ tensors: [Tensor], name: String) throws -> StoredTensor {
    let heads = tensors.first?.shape[0] ?? 0
    var target: [Float] = []
    target.reserveCapacity(tensors.count * heads * width * width)
    for (sequence, tensor) in tensors.enumerated() {
      let (values, places) = (tensor.hostValues(), places[sequence])
      if places.count == width {
        target += values
        continue
      }
      var block = [Float](repeating: 0, count: heads * width * width)
      for head in 0..<heads {
        for (row, place) in places.enumerated() {
          for (key, keyPlace) in places.enumerated() {
            block[(head * width + place) * width + keyPlace] =
              values[(head * places.count + row) * places.count + key]
          }
        }
      }
      target += block
    }
    return try StoredTensor(name: name, shape: [tensors.count, heads, width, width], floats: target)
  }

  /// 1 for rows that are real: `[batch, width]`.
  func mask() throws -> StoredTensor {
    var mask = [Int](repeating: 0, count: places.count * width)
    for (sequence, places) in places.enumerated() {
      for place in places { mask[sequence * width + place] = 1 }
    }
    return try StoredTensor(name: "attention_mask", shape: [places.count, width], integers: mask)
  }
}
