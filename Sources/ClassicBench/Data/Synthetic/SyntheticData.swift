import Foundation
public import RunKit

/// Makes data whose modalities say a chosen amount about the label together, each for itself, and only jointly.
///
/// The label is a word of uniform independent bits, Y = (R, U₁ … U_M, S), and modality m sees the symbols
///
///     X_m = (R, U_m, A_m),   S = A₁ ⊕ … ⊕ A_M,   A₁ … A_M uniform and independent
///
/// R are `redundant` bits that all modalities see, U_m are `unique[m]` bits that only m sees, and of the `synergy` bits S
/// any M − 1 modalities together say nothing. An amount that is not whole has one bit more, which is erased (a symbol of its
/// own in place of 0 and 1) with probability 1 − fraction: in R and in S for all modalities at once. So, in bits,
///
///     I(X_m; Y) = redundant + unique[m]
///     I(X₁ … X_M; Y) = redundant + Σ unique + synergy
///
/// and with two modalities the amounts are the atoms of the partial information decomposition of Bertschinger et al.
/// (the first measure of redundancy, Williams and Beer's, would count unique bits of both as redundant). Erased bits of the
/// label can only be guessed.
///
/// Each symbol is ±1, or 0 where it is erased; modality m is the vector x = C s + σ ε, with C a matrix of standard normal
/// numbers over the square root of the number of symbols, drawn once for the modality, and ε standard normal. With σ = 0 the
/// vector says exactly what the symbols do; noise takes away from every amount.
///
/// Source: Williams and Beer, "Nonnegative Decomposition of Multivariate Information", 2010, arXiv:1004.2515 (the atoms);
/// Bertschinger et al., "Quantifying Unique Information", Entropy 16(4), 2014, arXiv:1311.2852 (their amounts); Cover and
/// Thomas, "Elements of Information Theory", 2nd edition, section 7.1.5 (the erasure channel).
public struct SyntheticData: Sendable {
  /// What is asked for.
  public struct Options: Sendable, Equatable {
    /// Bits that every modality sees, 0...6.
    public var redundant = 1.0
    /// Bits that one modality sees alone, for each modality.
    public var unique = [1.0, 1.0]
    /// Bits that only all modalities together say.
    public var synergy = 0.0
    /// The names of the modalities.
    public var names = ["audio", "visual"]
    /// Samples of all splits; 70 % train, 10 % validation, 20 % test.
    public var samples = 2000
    /// σ.
    public var noise = 0.1
    /// Numbers of a vector.
    public var dimensions = 32
    /// Draws everything.
    public var seed = 0

    /// The defaults.
    public init() {}
  }

  /// The most bits of a label, so of log₂ classes.
  public static let labelBits = 10
  private let options: Options

  /// - Throws: `SyntheticError`.
  public init(_ options: Options) throws {
    guard options.unique.count == options.names.count, options.names.count >= 2 else {
      throw SyntheticError.wrongCount(found: options.unique.count, modalities: options.names.count)
    }
    guard Set(options.names.map { Array($0.utf8) }).count == options.names.count,
      options.names.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy(PackedModality.isNameByte) })
    else { throw SyntheticError.badNames(options.names) }
    let bits = ([options.redundant, options.synergy] + options.unique).map { Int($0.rounded(.up)) }.reduce(
      0, +)
    guard 1...Self.labelBits ~= bits else {
      throw SyntheticError.badBits(found: bits, limit: Self.labelBits)
    }
    self.options = options
  }

  /// One symbol: a bit, or nothing.
  enum Symbol: Sendable, Equatable {
    case bit(Bool)
    case erased

    var value: Double {
      switch self {
      case .bit(let bit): bit ? 1 : -1
      case .erased: 0
      }
    }
  }

  /// The bits of an amount, and for each the symbol that is seen of it.
  private func word(_ amount: Double, _ stream: inout RandomStream) -> (bits: [Bool], isErased: [Bool]) {
    let count = Int(amount.rounded(.up))
    let fraction = amount - amount.rounded(.down)
    var (bits, isErased) = ([Bool](), [Bool]())
    for index in 0..<count {
      bits.append(stream.next() >> 63 == 1)
      let isPart = index == count - 1 && fraction > 0
      isErased.append(isPart ? stream.uniform() >= fraction : false)
    }
    return (bits, isErased)
  }

  /// The label and the symbols of each modality of one sample.
  func draw(_ sample: Int) -> (label: Int, symbols: [[Symbol]]) {
    var stream = RandomStream(seed: options.seed, purpose: "synthetic symbols", id: sample)
    func symbols(_ bits: [Bool], _ isErased: [Bool]) -> [Symbol] {
      zip(bits, isErased).map { $1 ? .erased : .bit($0) }
    }
    let redundant = word(options.redundant, &stream)
    let unique = options.unique.map { word($0, &stream) }
    let synergy = word(options.synergy, &stream)
    // All but the last modality get bits of their own; the last makes the sum right.
    var keys = options.names.dropLast().map { _ in synergy.bits.map { _ in stream.next() >> 63 == 1 } }
    keys.append(
      synergy.bits.indices.map { index in keys.reduce(synergy.bits[index]) { $0 != $1[index] } })
    let label = (redundant.bits + unique.flatMap(\.bits) + synergy.bits).reduce(0) { 2 * $0 + ($1 ? 1 : 0) }
    let seen = options.names.indices.map { index in
      symbols(redundant.bits, redundant.isErased) + symbols(unique[index].bits, unique[index].isErased)
        + symbols(keys[index], synergy.isErased)
    }
    return (label, seen)
  }

  /// C of a modality, `[dimensions][symbols]`.
  private func code(_ modality: Int, symbols: Int) -> [[Double]] {
    var stream = RandomStream(seed: options.seed, purpose: "synthetic code", id: modality)
    let scale = 1 / Double(max(1, symbols)).squareRoot()
    return (0..<options.dimensions).map { _ in (0..<symbols).map { _ in stream.normal() * scale } }
  }

  /// Everything, as a listing that can be packed.
  public func listing() -> DataListing {
    let bits = ([options.redundant] + options.unique + [options.synergy]).map { Int($0.rounded(.up)) }
    let classes = (0..<1 << bits.reduce(0, +)).map { String($0) }
    let codes = options.names.indices.map { index in
      code(index, symbols: bits[0] + bits[1 + index] + bits[bits.count - 1])
    }
    var splits: [[SourceSample]] = [[], [], []]
    let (training, validation) = (options.samples * 7 / 10, options.samples / 10)
    for sample in 0..<options.samples {
      let (label, symbols) = draw(sample)
      let parts = symbols.indices.map { index in
        SourcePart.values(vector(codes[index], symbols[index].map(\.value), modality: index, sample))
      }
      let split = sample < training ? 0 : sample < training + validation ? 1 : 2
      splits[split].append(SourceSample(id: "sample-\(sample)", label: label, parts: parts))
    }
    let notes: [(String, JSONValue)] = [
      ("layout", "synthetic"), ("redundant_bits", .number(options.redundant)),
      ("unique_bits", .array(options.unique.map(JSONValue.number))),
      ("synergy_bits", .number(options.synergy)),
      ("noise", .number(options.noise)), ("dimensions", .integer(options.dimensions)),
      ("samples", .integer(options.samples)), ("seed", .integer(options.seed)),
    ]
    return DataListing(
      layout: "synthetic", folder: URL(fileURLWithPath: "synthetic"), classes: classes,
      modalities: options.names.map {
        PackedModality(name: $0, kind: .features, shape: [options.dimensions])
      },
      problems: [], incompleteCount: 0, splits: splits, recipe: DataRecipe(), recipeNotes: JSONObject(notes))
  }

  private func vector(_ code: [[Double]], _ symbols: [Double], modality: Int, _ sample: Int) -> [Float] {
    var stream = RandomStream(seed: options.seed, purpose: "synthetic noise", step: modality, id: sample)
    return code.map { row in
      let signal = zip(row, symbols).reduce(0.0) { $0 + $1.0 * $1.1 }
      return Float(signal + (options.noise > 0 ? options.noise * stream.normal() : 0))
    }
  }
}

/// Why such data cannot be made.
public enum SyntheticError: DescribedError {
  case wrongCount(found: Int, modalities: Int)
  case badNames([String])
  case badBits(found: Int, limit: Int)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case wrongCount = "synthetic_wrong_count"
    case badNames = "synthetic_bad_names"
    case badBits = "synthetic_bad_bits"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .wrongCount: .wrongCount
    case .badNames: .badNames
    case .badBits: .badBits
    }
  }

  /// What is asked for stands on the command line.
  public var exitStatus: ExitStatus { .usage }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .wrongCount(let found, let modalities):
      "found \(found) amounts of unique bits for \(modalities) modalities, expected one each and two or more"
    case .badNames(let names):
      "found the modalities \(names.joined(separator: ", ").shown()), expected different names of letters, digits, - and _"
    case .badBits(let found, let limit): "the label has \(found) bits, expected 1 to \(limit)"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .wrongCount: "give as many numbers to '--unique' as names to '--modalities'"
    case .badNames: "change '--modalities'"
    case .badBits: "ask for fewer or more bits; an amount counts as the next whole number"
    }
  }
}
