import Foundation
import RunKit
import TokenModel

/// A run of any kind that can be compared.
struct ComparedRun {
  private enum Contents {
    case attention(AttentionContext, [AttentionRecord])
    case evaluation(EvaluationContext, [EvaluationRecord])
  }

  let path: String
  /// config.json.
  let configuration: JSONValue
  private let contents: Contents

  /// Reads a run folder.
  ///
  /// - Throws: Errors of files and records; `AttentionRecordError.wrongValue` for a run of another command.
  init(path: String) throws {
    self.path = path
    let folder = URL(fileURLWithPath: path, isDirectory: true)
    configuration = try AttentionRunFiles.configuration(of: folder).json
    if configuration["kind"]?.stringValue == EvaluationContext.kind {
      let (context, records) = try EvaluationRun.read(folder)
      contents = .evaluation(context, records)
    } else {
      let (context, samples) = try AttentionRunFiles.read(folder)
      contents = .attention(context, samples.records)
    }
  }

  /// What it measures.
  var kind: String {
    switch contents {
    case .attention(let context, _): context.kind
    case .evaluation: EvaluationContext.kind
    }
  }

  var side: Comparison.Side {
    switch contents {
    case .attention(let context, let records):
      Comparison.Side(
        path: path, model: context.model, data: context.data, count: records.count,
        expectedCount: context.expectedCount)
    case .evaluation(let context, let records):
      Comparison.Side(
        path: path, model: context.model, data: context.data, count: records.count,
        expectedCount: context.data.sampleCount)
    }
  }

  /// The medium whose items its own intervals resample.
  var clusterKey: String? {
    switch contents {
    case .attention(let context, _): context.definition.interval.clusterKey
    case .evaluation(let context, _): context.definition.interval.clusterKey
    }
  }

  var keys: [AlignedSamples.Key] {
    switch contents {
    case .attention(_, let records): records.map { .init(id: $0.id, hash: $0.hash) }
    case .evaluation(_, let records): records.map { .init(id: $0.id, hash: $0.hash) }
    }
  }

  /// The cluster of a sample.
  func cluster(of place: Int, _ medium: String) -> String {
    let item: String? =
      switch contents {
      case .attention(_, let records): records[place].clusters[medium]
      case .evaluation(_, let records): records[place].clusters[medium]
      }
    return item.map { "item \($0)" } ?? "sample \(place)"
  }

  /// What both runs measured, as columns over their pairs.
  ///
  /// - Parameter pairs: Places of the samples in the first and in the second run.
  /// - Throws: `ComparisonError.differentMethods`.
  static func families(
    _ first: ComparedRun, _ second: ComparedRun, _ pairs: [(first: Int, second: Int)]
  ) throws(ComparisonError) -> [ComparedFamily] {
    switch (first.contents, second.contents) {
    case (.attention(let old, let oldRecords), .attention(let new, let newRecords)):
      let attention = ComparedAttention(
        old.definition, new.definition,
        pairs.map { (oldRecords[$0.first], newRecords[$0.second]) })
      guard let method = old.definition.contribution, let other = new.definition.contribution else {
        return attention.families
      }
      guard method == other else {
        throw .differentMethods(
          first: first.path, method: method.method.explanation + "; " + method.targetText,
          second: second.path,
          other: other.method.explanation + "; " + other.targetText)
      }
      return attention.contributionFamilies + attention.families
    case (.evaluation(let old, let oldRecords), .evaluation(let new, let newRecords)):
      return evaluationFamilies(
        old.definition, new.definition,
        pairs.map { (oldRecords[$0.first], newRecords[$0.second]) })
    default: return []
    }
  }

  /// Accuracy under every condition of both runs, over all questions and by the tags of the first.
  private static func evaluationFamilies(
    _ old: EvaluationDefinition, _ new: EvaluationDefinition, _ pairs: [(EvaluationRecord, EvaluationRecord)]
  ) -> [ComparedFamily] {
    let records = pairs.map(\.0)
    var overall: [ComparedFamily.Quantity] = []
    var parts: [ComparedFamily.Quantity] = []
    for (place, condition) in old.conditions.enumerated() {
      guard let other = new.conditions.firstIndex(of: condition) else { continue }
      func column(_ belongs: (EvaluationRecord) -> Bool) -> PairedColumn {
        func hit(_ record: EvaluationRecord, _ place: Int) -> Double { record.isCorrect(place) ? 1 : 0 }
        return PairedColumn(
          before: pairs.map { belongs($0.0) ? hit($0.0, place) : nil },
          after: pairs.map { belongs($0.0) ? hit($0.1, other) : nil }, isBinary: true)
      }
      overall.append(.init(path: [condition.name, "accuracy"], column: column { _ in true }))
      for key in Evaluation.keys(records, old) {
        for group in EvaluationRecord.groups(records, by: key) {
          parts.append(
            .init(
              path: [condition.name, "accuracy", key, group.value], group: "\(key) \(group.value)",
              column: column { $0.value(of: key) == group.value }))
        }
      }
    }
    return [
      ComparedFamily(name: "accuracy", unit: .share, quantities: overall),
      ComparedFamily(name: "accuracy by tag", unit: .share, quantities: parts),
    ].filter { !$0.quantities.isEmpty }
  }
}

/// The quantities of two attention or contribution runs over the same samples.
private struct ComparedAttention {
  /// A group of both definitions, as positions in them.
  private struct Group {
    let name: String
    let old: Int
    let new: Int
  }

  private let definitions: (old: AttentionDefinition, new: AttentionDefinition)
  private let pairs: [(old: SampleMeasures, new: SampleMeasures)]
  private let groups: [Group]
  /// Layers of both, as positions in the definitions.
  private let layers: [(layer: Int, old: Int, new: Int)]

  init(
    _ old: AttentionDefinition, _ new: AttentionDefinition, _ records: [(AttentionRecord, AttentionRecord)]
  ) {
    definitions = (old, new)
    pairs = records.map { (SampleMeasures($0.0, old), SampleMeasures($0.1, new)) }
    // A group is the same if it holds the same roles; one that no sample has is left out.
    groups = old.groups.indices.compactMap { place in
      let group = old.groups[place]
      let occurs = records.contains { $0.0.tokens[place] > 0 }
      guard occurs,
        let other = new.groups.firstIndex(where: {
          $0.name == group.name && Set($0.roles) == Set(group.roles)
        })
      else { return nil }
      return Group(name: group.name, old: place, new: other)
    }
    layers = old.layers.indices.compactMap { place in
      new.layers.firstIndex(of: old.layers[place]).map { (old.layers[place], place, $0) }
    }
  }

  private func column(
    _ old: (SampleMeasures) -> Double?, _ new: (SampleMeasures) -> Double?
  ) -> PairedColumn {
    PairedColumn(before: pairs.map { old($0.old) }, after: pairs.map { new($0.new) })
  }

  private func mean(_ sample: SampleMeasures, _ group: Int, _ layers: [Int]) -> Double? {
    layers.isEmpty ? nil : layers.reduce(0) { $0 + sample.share[$1][group] } / Double(layers.count)
  }

  var families: [ComparedFamily] {
    let (oldLayers, newLayers) = (layers.map(\.old), layers.map(\.new))
    let shares = groups.map { group in
      ComparedFamily.Quantity(
        path: [group.name, "share"], group: group.name,
        column: column({ mean($0, group.old, oldLayers) }, { mean($0, group.new, newLayers) }))
    }
    let byLayer = layers.flatMap { layer in
      groups.map { group in
        ComparedFamily.Quantity(
          path: ["layers", "\(layer.layer)", group.name, "share"], group: group.name, layer: layer.layer,
          column: column({ $0.share[layer.old][group.old] }, { $0.share[layer.new][group.new] }))
      }
    }
    let entropies = layers.map { layer in
      ComparedFamily.Quantity(
        path: ["layers", "\(layer.layer)", "entropy"], layer: layer.layer,
        column: column({ $0.entropy[layer.old] }, { $0.entropy[layer.new] }))
    }
    return [
      ComparedFamily(name: "share", unit: .share, quantities: layers.isEmpty ? [] : shares),
      ComparedFamily(name: "index", unit: .number, quantities: indices),
      ComparedFamily(name: "share by layer", unit: .share, quantities: byLayer),
      ComparedFamily(name: "entropy by layer", unit: .number, quantities: entropies),
    ].filter { !$0.quantities.isEmpty }
  }

  /// MDI and the content part of the log ratio, for each medium of both; over all layers, which must then be the same.
  private var indices: [ComparedFamily.Quantity] {
    let (old, new) = definitions
    guard old.layers == new.layers else { return [] }
    return Role.media.flatMap { medium -> [ComparedFamily.Quantity] in
      let kinds: [(name: String, quantity: Quantity)] = [
        ("mdi", .mdi(medium, .all)), ("content", .logContentRatio(medium, .all)),
      ]
      guard groups.contains(where: { $0.name == medium.rawValue }), !old.textGroups.isEmpty,
        !new.textGroups.isEmpty
      else { return [] }
      return kinds.map { kind in
        .init(
          path: [medium.rawValue, kind.name], group: medium.rawValue,
          column: column({ kind.quantity.value($0, old) }, { kind.quantity.value($0, new) }))
      }
    }
  }

  /// Shares and effects of contributions, the target, and the numbers behind.
  var contributionFamilies: [ComparedFamily] {
    func contribution(_ sample: SampleMeasures) -> Contribution? { sample.record.contribution }
    let shown = groups.filter { group in
      definitions.old.contributingGroups(pairs.map(\.old.record)).contains(group.old)
    }
    let shares = shown.map { group in
      ComparedFamily.Quantity(
        path: [group.name, "contribution"], group: group.name,
        column: column({ contribution($0)?.share(group.old) }, { contribution($0)?.share(group.new) }))
    }
    var effects: [ComparedFamily.Quantity] = []
    if definitions.old.contribution?.hasEffects ?? false {
      effects = shown.map { group in
        .init(
          path: [group.name, "effect"], group: group.name,
          column: column({ contribution($0)?.effect?[group.old] }, { contribution($0)?.effect?[group.new] }))
      }
    }
    let targets: [ComparedFamily.Quantity] = [
      .init(
        path: ["target"],
        column: column({ contribution($0)?.target.value }, { contribution($0)?.target.value })),
      .init(
        path: ["probability"],
        column: column({ contribution($0)?.target.probability }, { contribution($0)?.target.probability })),
    ]
    let (oldNames, newNames) = (definitions.old.cellNames, definitions.new.cellNames)
    let places = Dictionary(zip(newNames, newNames.indices), uniquingKeysWith: { first, _ in first })
    let cells = oldNames.enumerated().compactMap { old, name -> ComparedFamily.Quantity? in
      guard let new = places[name] else { return nil }
      return .init(
        path: ["cells", name],
        column: column({ contribution($0)?.cells[old] }, { contribution($0)?.cells[new] }))
    }
    return [
      ComparedFamily(name: "contribution", unit: .share, quantities: shares),
      ComparedFamily(name: "effect", unit: .number, quantities: effects),
      ComparedFamily(name: "target", unit: .number, quantities: targets),
      ComparedFamily(name: "cell", unit: .number, quantities: cells),
    ].filter { !$0.quantities.isEmpty }
  }
}
