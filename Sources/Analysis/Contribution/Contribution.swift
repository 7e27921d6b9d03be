/// What the groups of one sample are worth: the contributions by one method.
///
/// Arrays are flat and row-major; groups and layers are those of the `AttentionDefinition`.
public struct Contribution: Equatable, Sendable {
  /// The piece that is explained.
  public struct Target: Equatable, Sendable {
    /// Its id.
    public var id: Int
    /// Its text.
    public var piece: String
    /// The target on the full prompt, in the unit of the definition.
    public var value: Double
    /// The probability of the piece on the full prompt, 0...1.
    public var probability: Double
    /// Whether it is the most likely piece.
    public var isPrediction: Bool

    /// A target.
    public init(id: Int, piece: String, value: Double, probability: Double, isPrediction: Bool) {
      (self.id, self.piece, self.value) = (id, piece, value)
      (self.probability, self.isPrediction) = (probability, isPrediction)
    }
  }

  /// What is explained.
  public var target: Target
  /// What each group adds to the target, signed, `[groups]`; nil for a method without signs.
  public var effect: [Double]?
  /// How much each group matters, at least 0, `[groups]`; see `ContributionDefinition.Method.magnitude`.
  public var magnitude: [Double]
  /// The numbers behind, named by `ContributionDefinition.cellNames`.
  public var cells: [Double]
  /// Value norms: the share of each group's vector in a head, `[layers, heads, groups]`; nil for other methods.
  public var heads: [Float]?
  /// The signed effect of each prompt row; nil for methods without.
  public var tokens: [Float]?
  /// The target where nothing is present; nil for methods without.
  public var baselineValue: Double?
  /// By how much the parts miss the whole, in the unit of the whole; nil for methods without such a sum.
  public var residual: Double?

  /// The contributions of one sample.
  public init(
    target: Target, effect: [Double]?, magnitude: [Double], cells: [Double] = [], heads: [Float]? = nil,
    tokens: [Float]? = nil, baselineValue: Double? = nil, residual: Double? = nil
  ) {
    (self.target, self.effect, self.magnitude, self.cells) = (target, effect, magnitude, cells)
    (self.heads, self.tokens) = (heads, tokens)
    (self.baselineValue, self.residual) = (baselineValue, residual)
  }

  /// The part of a group in all magnitudes, 0...1; nil where all are 0.
  public func share(_ group: Int) -> Double? {
    let total = magnitude.reduce(0, +)
    return total > 0 ? magnitude[group] / total : nil
  }

  /// The largest number of a contribution, so that sums of squares over samples stay finite.
  static let limit = 1e100

  /// Whether every number is finite and below the limit.
  var isFinite: Bool {
    let numbers =
      [target.value, target.probability, baselineValue ?? 0, residual ?? 0] + (effect ?? []) + magnitude
      + cells
    return numbers.allSatisfy { abs($0) <= Self.limit } && (heads ?? []).allSatisfy(\.isFinite)
      && (tokens ?? []).allSatisfy(\.isFinite)
  }
}
