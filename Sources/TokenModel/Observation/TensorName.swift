/// The name of an intermediate tensor of a decoder or a tower: a site, in a layer or outside of them.
///
/// The same names serve observers, interventions and files. Written `layers.3.query` or `logits`; in a tower
/// `vision.layers.3.query`.
public struct TensorName: Hashable, Sendable, CustomStringConvertible {
  /// A place in the computation. Shapes are `[rows, …]` of the ragged batch.
  public enum Site: String, CaseIterable, Sendable {
    /// `[rows, hidden]`: what enters layer 0.
    case embeddings
    /// `[rows, hidden]`: the residual stream that enters the layer.
    case input
    /// `[rows, hidden]`: the normalised input of attention.
    case attentionNorm
    /// `[rows, heads * headSize]`, decoder only: queries after QK norm, before positions are rotated in.
    case unplacedQuery
    /// `[rows, keyValueHeads * headSize]`, decoder only: keys after QK norm, before positions are rotated in.
    case unplacedKey
    /// `[rows, heads * headSize]`: queries, after QK norm and rotation.
    case query
    /// `[rows, keyValueHeads * headSize]`: keys, after QK norm and rotation.
    case key
    /// `[rows, keyValueHeads * headSize]`: values.
    case value
    /// `[rows, heads * headSize]`: Σ probability · value, before the output projection.
    case attention
    /// `[rows, hidden]`: after the output projection.
    case attentionOutput
    /// `[rows, hidden]`: the residual stream after attention.
    case afterAttention
    /// `[rows, hidden]`: the normalised input of the feed-forward layer.
    case feedForwardNorm
    /// `[rows, intermediate]`: the gate before its activation.
    case gate
    /// `[rows, intermediate]`: the other factor.
    case up
    /// `[rows, hidden]`: after the down projection.
    case feedForwardOutput
    /// `[rows, hidden]`: the residual stream that leaves the layer.
    case output
    /// `[rows, hidden]`: after the final norm.
    case finalNorm
    /// `[reported rows, vocabulary]`.
    case logits
    /// `[rows, hidden]`, towers only: what the decoder gets in place of the placeholders.
    case projected
  }

  /// A network whose output becomes rows of the decoder.
  public enum Tower: String, CaseIterable, Sendable {
    /// Images and videos.
    case vision
    /// Sound.
    case audio
  }

  /// The tower, or nil in the decoder.
  public let tower: Tower?

  /// The layer from 0, or nil outside of layers.
  public let layer: Int?
  /// The place.
  public let site: Site

  /// The tensor at a site, in a layer if the site is in one.
  public init(_ site: Site, layer: Int? = nil, tower: Tower? = nil) {
    (self.layer, self.site, self.tower) = (layer, site, tower)
  }

  /// The written form, such as `layers.3.query`.
  public var description: String {
    (tower.map { $0.rawValue + "." } ?? "") + (layer.map { "layers.\($0)." } ?? "") + site.rawValue
  }

  /// Reads a written name; nil when it is none.
  public init?(_ text: String) {
    var parts = text.split(separator: ".", omittingEmptySubsequences: false)
    let tower = parts.count > 1 ? Tower(rawValue: String(parts[0])) : nil
    if tower != nil { parts.removeFirst() }
    if parts.count == 1, let site = Site(rawValue: String(parts[0])), !site.isInLayer {
      self.init(site, tower: tower)
    } else if parts.count == 3, parts[0] == "layers", let layer = Int(parts[1]), layer >= 0,
      let site = Site(rawValue: String(parts[2])), site.isInLayer
    {
      self.init(site, layer: layer, tower: tower)
    } else {
      return nil
    }
  }
}

extension TensorName.Site {
  /// Whether every layer has this site.
  public var isInLayer: Bool {
    switch self {
    case .embeddings, .finalNorm, .logits, .projected: false
    default: true
    }
  }
  /// Whether a decoder has this site.
  public var isInDecoder: Bool { self != .projected }
  /// Whether a tower has this site.
  public var isInTower: Bool {
    switch self {
    case .logits, .gate, .unplacedQuery, .unplacedKey: false
    default: true
    }
  }
}
