import TokenModel

/// One number a sample has and a data-set mean is taken of.
///
/// Groups and layers are positions in the definition.
enum Quantity: Hashable {
  /// The layers a ratio is formed over.
  enum Layers: Hashable {
    case all, early, middle, late
    case one(Int)
  }

  case share(group: Int)
  case layerShare(group: Int, layer: Int)
  case shareWithoutBos(group: Int)
  case shareWithoutSinks(group: Int)
  case tokenShare(group: Int)
  case baseline(group: Int)
  case perToken(group: Int)
  case uniformRatio(group: Int)
  case entropy(layer: Int)
  case mdi(Role, Layers)
  case textAEI(Role)
  case mediumAEI(Role)
  case logShareRatio(Role, Layers)
  case logCountRatio(Role, Layers)
  case logContentRatio(Role, Layers)
  case sinkFraction(Role)

  /// The value for one sample, nil where it is undefined.
  func value(_ sample: SampleMeasures, _ definition: AttentionDefinition) -> Double? {
    let all = 0..<definition.layers.count
    let text = definition.textGroups
    func groups(_ medium: Role) -> [Int] { definition.groups(of: medium) }
    switch self {
    case .share(let group): return sample.share(group, all)
    case .layerShare(let group, let layer): return sample.share[layer][group]
    case .shareWithoutBos(let group): return sample.shareWithoutBos(group)
    case .shareWithoutSinks(let group): return sample.shareWithoutSinks(group)
    case .tokenShare(let group): return sample.tokenShare(group)
    case .baseline(let group): return Double(sample.record.baseline[group])
    case .perToken(let group): return sample.perToken([group], all)
    case .uniformRatio(let group): return sample.uniformRatio(group)
    case .entropy(let layer): return sample.entropy[layer]
    case .mdi(let medium, let layers):
      return sample.mdi(text: text, medium: groups(medium), definition.range(layers))
    case .textAEI(let medium):
      return sample.aei(side: text, text: text, medium: groups(medium), all)
    case .mediumAEI(let medium):
      return sample.aei(side: groups(medium), text: text, medium: groups(medium), all)
    case .logShareRatio(let medium, let layers):
      return sample.logShareRatio(text: text, medium: groups(medium), definition.range(layers))
    case .logCountRatio(let medium, let layers):
      return sample.logCountRatio(text: text, medium: groups(medium), definition.range(layers))
    case .logContentRatio(let medium, let layers):
      return sample.logContentRatio(text: text, medium: groups(medium), definition.range(layers))
    case .sinkFraction(let medium): return sample.sinkFraction(groups(medium))
    }
  }
}

extension AttentionDefinition {
  /// The positions of layers a ratio is formed over.
  func range(_ layers: Quantity.Layers) -> Range<Int> {
    switch layers {
    case .all: 0..<self.layers.count
    case .early: layerGroups.early
    case .middle: layerGroups.middle
    case .late: layerGroups.late
    case .one(let layer): layer..<layer + 1
    }
  }

  /// The quantities of a whole data set.
  func quantities(media: [Role]) -> [Quantity] {
    var quantities: [Quantity] = []
    for group in groups.indices {
      quantities += [
        .share(group: group), .shareWithoutBos(group: group), .shareWithoutSinks(group: group),
        .tokenShare(group: group), .baseline(group: group), .perToken(group: group),
        .uniformRatio(group: group),
      ]
      quantities += layers.indices.map { .layerShare(group: group, layer: $0) }
    }
    quantities += layers.indices.map { .entropy(layer: $0) }
    for medium in media {
      let spans: [Quantity.Layers] = [.all, .early, .middle, .late] + layers.indices.map { .one($0) }
      quantities += spans.map { .mdi(medium, $0) }
      quantities += spans.map { .logShareRatio(medium, $0) }
      quantities += spans.map { .logCountRatio(medium, $0) }
      quantities += spans.map { .logContentRatio(medium, $0) }
      quantities += [.textAEI(medium), .mediumAEI(medium), .sinkFraction(medium)]
    }
    return quantities
  }

  /// The quantities of a part of a data set, such as one type of question.
  func partQuantities(media: [Role]) -> [Quantity] {
    groups.indices.flatMap { [Quantity.share(group: $0), .perToken(group: $0)] }
      + media.flatMap { [Quantity.mdi($0, .all), .logContentRatio($0, .all)] }
  }
}

/// The estimates of several quantities over one set of samples.
struct Estimates {
  private let estimates: [Quantity: Estimate]

  init(
    _ quantities: [Quantity], _ samples: [SampleMeasures], _ definition: AttentionDefinition
  ) {
    let columns = quantities.map { quantity in samples.map { quantity.value($0, definition) } }
    let estimator = SampleEstimator(definition.interval, samples.map(\.record))
    let made = estimator.estimates(columns)
    estimates = Dictionary(zip(quantities, made), uniquingKeysWith: { first, _ in first })
  }

  /// The estimate of a quantity; empty if it was not asked for.
  subscript(quantity: Quantity) -> Estimate { estimates[quantity] ?? .empty }
}
