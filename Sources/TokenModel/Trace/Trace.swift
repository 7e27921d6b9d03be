import RunKit
public import TensorCore

/// Runs raw inputs and hands out named intermediates, batched like the inputs.
///
/// Names: `logits`; `hidden.i`, the input of layer i, with `hidden.L` after the final norm; `attention.i`, the
/// probabilities of layer i; and every `TensorName`, such as `layers.2.query`. Rows of padding are 0. Where media expand, a
/// sequence keeps its side of padding and `attention_mask` says which rows are real.
///
/// Of towers: `vision.hidden.i`, the input of layer i, with `vision.hidden.L` the output of the last layer;
/// `vision.attention.i`; and every `TensorName` that begins with the tower, such as `vision.projected`. They have a row of
/// the batch for each image or tile, in the order of the media; shorter ones are filled up with 0.
public struct Trace {
  /// Something to hand out.
  enum Capture: Hashable {
    case tensor(TensorName)
    case attention(layer: Int, tower: TensorName.Tower?)

    var tower: TensorName.Tower? {
      switch self {
      case .tensor(let name): name.tower
      case .attention(_, let tower): tower
      }
    }
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
    let names = names ?? Self.defaultNames(layerCount: model.decoder.configuration.layerCount)
    var captures: [(name: String, capture: Capture)] = []
    for name in names {
      guard let capture = Self.capture(name, of: model) else {
        throw .unknownCapture(
          name: name, nearest: NameSuggestion.nearest(to: name, in: Self.allNames(of: model)))
      }
      captures.append((name, capture))
    }
    self.captures = captures
  }

  /// Every name that can be captured.
  public static func allNames(of model: any LanguageModel) -> [String] {
    let layerCount = model.decoder.configuration.layerCount
    let sites = TensorName.Site.allCases.filter(\.isInDecoder)
    let decoder =
      defaultNames(layerCount: layerCount)
      + sites.filter { !$0.isInLayer && $0 != .logits }.map(\.rawValue)
      + (0..<layerCount).flatMap { layer in
        sites.filter(\.isInLayer).map { TensorName($0, layer: layer).description }
      }
    return decoder + model.towers.flatMap { towerNames($0.tower, layerCount: $0.layerCount) }
  }

  private static func towerNames(_ tower: TensorName.Tower, layerCount: Int) -> [String] {
    let sites = TensorName.Site.allCases.filter(\.isInTower)
    return (0...layerCount).map { "\(tower.rawValue).hidden.\($0)" }
      + (0..<layerCount).map { "\(tower.rawValue).attention.\($0)" }
      + sites.filter { !$0.isInLayer }.map { TensorName($0, tower: tower).description }
      + (0..<layerCount).flatMap { layer in
        sites.filter(\.isInLayer).map { TensorName($0, layer: layer, tower: tower).description }
      }
  }

  private static func capture(_ name: String, of model: any LanguageModel) -> Capture? {
    var parts = name.split(separator: ".", omittingEmptySubsequences: false)
    let tower = parts.count > 1 ? TensorName.Tower(rawValue: String(parts[0])) : nil
    var layerCount = model.decoder.configuration.layerCount
    if let tower {
      guard let found = model.towers.first(where: { $0.tower == tower }) else { return nil }
      layerCount = found.layerCount
      parts.removeFirst()
    }
    if parts.count == 2, let layer = Int(parts[1]), layer >= 0 {
      if parts[0] == "hidden", layer < layerCount {
        return .tensor(TensorName(.input, layer: layer, tower: tower))
      }
      if parts[0] == "hidden", layer == layerCount {
        return .tensor(
          tower == nil
            ? TensorName(.finalNorm) : TensorName(.output, layer: layerCount - 1, tower: tower))
      }
      if parts[0] == "attention", layer < layerCount { return .attention(layer: layer, tower: tower) }
      return nil
    }
    guard let tensor = TensorName(name), tensor.layer.map({ $0 < layerCount }) ?? true,
      tower == nil ? tensor.site.isInDecoder : tensor.site.isInTower
    else { return nil }
    return .tensor(tensor)
  }

  /// Runs the model.
  ///
  /// - Returns: One tensor for each name, and `attention_mask` if the batch is padded. A tensor of a tower that no medium
  ///   went through is left out.
  /// - Throws: `PromptError`, `TraceError`.
  public func run(_ inputs: TraceInputs) throws -> [StoredTensor] {
    let observer = CaptureObserver(Set(captures.map(\.capture)))
    var options = ForwardOptions()
    options.observers = [observer]
    if inputs.rows.isEmpty {
      guard captures.allSatisfy({ $0.capture.tower != nil }) else {
        throw TraceError.missingInput(path: inputs.path, name: "input_ids")
      }
      for medium in inputs.media { _ = model.mediumEmbeddings(medium, options: options) }
      return try towerOutputs(observer)
    }
    let batch = try Batch(inputs, model: model, options: options)
    options.logits = captures.contains { $0.capture == .tensor(TensorName(.logits)) } ? .all : .none
    if captures.contains(where: { $0.capture.tower == nil }) {
      _ = model.decoder.forward(batch.embeddings, context: batch.context, options: options)
    }
    var outputs: [StoredTensor] = []
    for (name, capture) in captures where capture.tower == nil {
      switch capture {
      case .tensor(let tensor):
        outputs.append(try batch.padded(observer.tensors[tensor]?.first?.tensor, name: name))
      case .attention:
        outputs.append(try batch.paddedAttention(observer.attention[capture] ?? [], name: name))
      }
    }
    if batch.isPadded { outputs.append(try batch.mask()) }
    return outputs + (try towerOutputs(observer))
  }

  private func towerOutputs(_ observer: CaptureObserver) throws -> [StoredTensor] {
    var outputs: [StoredTensor] = []
    for (name, capture) in captures where capture.tower != nil {
      switch capture {
      case .tensor(let tensor):
        guard let parts = observer.tensors[tensor] else { continue }
        outputs.append(try Self.stacked(parts, name: name))
      case .attention:
        guard let parts = observer.attention[capture] else { continue }
        outputs.append(try Self.stackedAttention(parts, name: name))
      }
    }
    return outputs
  }

  /// `[rows, columns]` of several calls to `[sequences, longest, columns]`.
  private static func stacked(_ parts: [(tensor: Tensor, segments: RowSegments)], name: String) throws
    -> StoredTensor
  {
    let columns = parts.first?.tensor.columns ?? 0
    let lengths = parts.flatMap { part in (0..<part.segments.count).map { part.segments[$0].count } }
    let longest = lengths.max() ?? 0
    var values: [Float] = []
    for part in parts {
      let rows = part.tensor.hostValues()
      for index in 0..<part.segments.count {
        let range = part.segments[index]
        values += rows[range.lowerBound * columns..<range.upperBound * columns]
        values += [Float](repeating: 0, count: (longest - range.count) * columns)
      }
    }
    return try StoredTensor(name: name, shape: [lengths.count, longest, columns], floats: values)
  }

  /// `[heads, queries, keys]` of each sequence to `[sequences, heads, longest, longest]`.
  private static func stackedAttention(_ parts: [Tensor], name: String) throws -> StoredTensor {
    let (heads, longest) = (parts.first?.shape[0] ?? 0, parts.map { $0.shape[1] }.max() ?? 0)
    var values = [Float](repeating: 0, count: parts.count * heads * longest * longest)
    for (sequence, part) in parts.enumerated() {
      let size = part.shape[1]
      for (row, probabilities) in part.hostRows().enumerated() {
        let start = ((sequence * heads + row / size) * longest + row % size) * longest
        values.replaceSubrange(start..<start + size, with: probabilities)
      }
    }
    return try StoredTensor(name: name, shape: [parts.count, heads, longest, longest], floats: values)
  }
}

/// Keeps the captured tensors, those of towers for every call.
private final class CaptureObserver: ForwardObserver {
  private let captures: Set<Trace.Capture>
  var tensors: [TensorName: [(tensor: Tensor, segments: RowSegments)]] = [:]
  var attention: [Trace.Capture: [Tensor]] = [:]

  init(_ captures: Set<Trace.Capture>) { self.captures = captures }

  func wants(_ name: TensorName) -> Bool { captures.contains(.tensor(name)) }
  func observe(_ tensor: Tensor, _ name: TensorName, context: TokenContext) {
    tensors[name, default: []].append((tensor, context.segments))
  }

  func attentionRequest(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionRequest? {
    request(.attention(layer: layer, tower: nil))
  }
  func observe(_ statistics: AttentionStatistics, layer: Int, context: TokenContext) {
    attention[.attention(layer: layer, tower: nil), default: []] += statistics.probabilities ?? []
  }
  func attentionRequest(
    tower: TensorName.Tower, layer: Int, context: TokenContext, keyRows: KeyRows
  ) -> AttentionRequest? { request(.attention(layer: layer, tower: tower)) }
  func observe(
    _ statistics: AttentionStatistics, tower: TensorName.Tower, layer: Int, context: TokenContext
  ) {
    attention[.attention(layer: layer, tower: tower), default: []] += statistics.probabilities ?? []
  }

  private func request(_ capture: Trace.Capture) -> AttentionRequest? {
    guard captures.contains(capture) else { return nil }
    var request = AttentionRequest()
    request.wantsProbabilities = true
    return request
  }
}

extension TraceInputs {
  /// The rows that a model runs on, without padding: embeddings `[rows, hidden]` and what the rows are.
  ///
  /// - Throws: `PromptError`, `TraceError`.
  public func batch(for model: any LanguageModel) throws -> (embeddings: Tensor, context: TokenContext) {
    let batch = try Batch(self, model: model, options: ForwardOptions())
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

  init(_ inputs: TraceInputs, model: any LanguageModel, options: ForwardOptions) throws {
    var queues = MediaQueues(inputs, model: model)
    var prompts: [Prompt] = []
    for (index, row) in inputs.rows.enumerated() {
      let sample = "\(inputs.path): row \(index)"
      prompts.append(
        try model.expand(
          ids: row.ids, pieces: row.ids.map(String.init), roles: row.ids.map { _ in .question },
          media: queues.take(for: row.ids), promptCount: row.ids.count, sample: sample))
    }
    if !inputs.mayLeaveMedia { try queues.checkEmpty() }
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
    // Without position_ids transformers counts padded places where rows have one position; expanded rows count from 0.
    let positions = zip(prompts, inputs.rows).map { prompt, row in
      if let given = row.positions { return given }
      let isCounted = isExpanded || prompt.positions.axes.count > 1
      return isCounted ? prompt.positions : RowPositions(row.places)
    }
    embeddings = Tensor.concatenated(prompts.map { model.embeddings($0, options: options) })
    context = TokenContext(
      segments: RowSegments(lengths: prompts.map(\.count)), positions: .concatenated(positions),
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

/// The media of a batch, handed out to its rows in order.
private struct MediaQueues {
  private let model: any LanguageModel
  private let path: String
  private var queues: [Modality: [Medium]]
  private let counts: [Modality: Int]
  /// The modalities with one placeholder for each row of a medium.
  private let expanded: Set<Modality>

  init(_ inputs: TraceInputs, model: any LanguageModel) {
    (self.model, path) = (model, inputs.path)
    queues = Dictionary(grouping: inputs.media) { $0.modality }
    counts = queues.mapValues(\.count)
    var expanded: Set<Modality> = []
    for (modality, media) in queues {
      let found = inputs.rows.reduce(0) { sum, row in
        sum + row.ids.count { $0 == model.placeholderID(of: modality) }
      }
      let rows = media.reduce(0) { $0 + model.rowCount(of: $1) }
      // With media to spare the count decides by its size: fewer than media is one for each.
      let isExact = found == rows || (inputs.mayLeaveMedia && found > media.count)
      if found != media.count && isExact { expanded.insert(modality) }
    }
    self.expanded = expanded
  }

  /// The media of the placeholders in `ids`, as far as there are any.
  mutating func take(for ids: [Int]) -> [Medium] {
    var taken: [Medium] = []
    for modality in model.modalities {
      var available = queues[modality, default: []]
      var rest = ids.count { $0 == model.placeholderID(of: modality) }
      while rest > 0, let medium = available.first {
        available.removeFirst()
        rest -= expanded.contains(modality) ? model.rowCount(of: medium) : 1
        taken.append(medium)
      }
      queues[modality] = available
    }
    return taken
  }

  /// Refuses media that no placeholder took.
  func checkEmpty() throws(PromptError) {
    for (modality, rest) in queues.sorted(by: { $0.key < $1.key }) where !rest.isEmpty {
      let all = counts[modality, default: 0]
      throw .placeholderMismatch(
        sample: path, modality: modality.rawValue, placeholders: all - rest.count, media: all)
    }
  }
}
