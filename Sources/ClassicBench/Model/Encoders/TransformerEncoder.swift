import Foundation
import TensorCore

/// Transformer layers with norms after attention and feed-forward, over the steps of a sequence, the rows or columns of a
/// picture or spectrogram, or the tokens of a text.
///
///     x = W input (+ positions), or the embeddings of tokens
///     x = norm1(x + dropout(attention(x)))
///     x = norm2(x + dropout(W₂ dropout(relu(W₁ x + b₁)) + b₂))      for each layer
///     h = the last, the first or the mean of the rows of a sample
///
/// `transformer` is that of the benchmark: no positions, every row sees every row, padding too, and h is the last row.
/// `transformer-corrected` adds positions, leaves padding out and takes the mean. Padding are steps of zeros before the
/// first and after the last other one, and places of a text without a token; a sample of nothing else keeps one step, so
/// that an input of zeros has features. Positions count from the first step that is kept.
///
/// Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, section 3 and, for sinusoidal
/// positions, 3.5; sizes: the encoder of CMU-MOSEI in BalanceBenchmark, arXiv:2502.10816. Departs from PyTorch's
/// `TransformerEncoderLayer`: nothing is dropped out of attention probabilities.
struct TransformerEncoder: Encoder {
  /// What tells the places of steps.
  enum Positions: String, CaseIterable, Sendable {
    case none, sinusoidal, learned
  }

  /// Which rows of a sample become its features.
  enum Pooling: String, CaseIterable, Sendable {
    case last, first, mean
  }

  /// What stands in an input.
  enum Reading: Sendable, Equatable {
    /// `[steps, size]`, or pictures and spectrograms whose rows are steps.
    case rows
    /// Pictures and spectrograms whose columns are steps.
    case columns
    /// `[places]` of a text: 1 + the id of a token below `vocabulary`, or 0 for no token.
    case tokens(vocabulary: Int)
  }

  /// Sizes and what is corrected.
  struct Options: Sendable, Equatable {
    var layers = 2
    var width = 1024
    var heads = 4
    /// The width between both matrices of a layer.
    var inner = 2048
    var dropout = 0.1
    var positions = Positions.none
    var leavesOutPadding = false
    var pooling = Pooling.last

    /// Those of the benchmark.
    init() {}

    /// With positions and without padding.
    static var corrected: Options {
      var options = Options()
      (options.positions, options.leavesOutPadding, options.pooling) = (.sinusoidal, true, .mean)
      return options
    }
  }

  let inputShape: [Int]
  let options: Options
  let reading: Reading
  let parameters: [ParameterShape]
  /// `[steps, width]` where positions are sinusoidal.
  private let sinusoids: Tensor?
  private static let epsilon: Float = 1e-5

  var kind: String { options.leavesOutPadding ? "transformer-corrected" : "transformer" }
  var featureSize: Int { options.width }

  /// - Parameters:
  ///   - inputShape: `[steps, size]`, `[rows, columns, channels]`, or `[places]` of tokens.
  ///   - options: The heads divide the width.
  init(inputShape: [Int], reading: Reading, _ options: Options) {
    require(options.width % options.heads == 0, "\(options.heads) heads of \(options.width) columns")
    (self.inputShape, self.reading, self.options) = (inputShape, reading, options)
    let (steps, size) = Self.sizes(inputShape, reading)
    parameters = Self.parameters(steps: steps, size: size, reading, options)
    sinusoids =
      options.positions == .sinusoidal ? Self.sinusoids(steps: steps, width: options.width) : nil
  }

  /// How many steps a sample has, and numbers a step.
  private static func sizes(_ shape: [Int], _ reading: Reading) -> (steps: Int, size: Int) {
    switch reading {
    case .rows: (shape[0], shape.dropFirst().reduce(1, *))
    case .columns: (shape[1], shape.reduce(1, *) / shape[1])
    case .tokens: (shape[0], 1)
    }
  }

  private static func parameters(
    steps: Int, size: Int, _ reading: Reading, _ options: Options
  ) -> [ParameterShape] {
    let (width, inner) = (options.width, options.inner)
    var shapes: [ParameterShape] = []
    if case .tokens(let vocabulary) = reading {
      // Row 0 stands for no token.
      shapes.append(
        ParameterShape(
          name: "embedding.weight", shape: [vocabulary + 1, width], start: .normal(mean: 0, deviation: 1)))
    } else {
      shapes.append(ParameterShape(name: "projection.weight", shape: [width, size], fanIn: size))
    }
    if options.positions == .learned {
      shapes.append(
        ParameterShape(name: "positions", shape: [steps, width], start: .normal(mean: 0, deviation: 0.02)))
    }
    // Xavier's bound for a matrix of three outputs for each input, as in PyTorch's MultiheadAttention.
    let attention = Float((6 / Double(4 * width)).squareRoot())
    for layer in 0..<options.layers {
      let part = [
        ParameterShape(
          name: "self_attn.in_proj_weight", shape: [3 * width, width], start: .within(attention)),
        ParameterShape(name: "self_attn.in_proj_bias", shape: [3 * width], start: .constant(0)),
        ParameterShape(name: "self_attn.out_proj.weight", shape: [width, width], fanIn: width),
        ParameterShape(name: "self_attn.out_proj.bias", shape: [width], start: .constant(0)),
        ParameterShape(name: "linear1.weight", shape: [inner, width], fanIn: width),
        ParameterShape(name: "linear1.bias", shape: [inner], fanIn: width),
        ParameterShape(name: "linear2.weight", shape: [width, inner], fanIn: inner),
        ParameterShape(name: "linear2.bias", shape: [width], fanIn: inner),
        ParameterShape(name: "norm1.weight", shape: [width], start: .constant(1)),
        ParameterShape(name: "norm1.bias", shape: [width], start: .constant(0)),
        ParameterShape(name: "norm2.weight", shape: [width], start: .constant(1)),
        ParameterShape(name: "norm2.bias", shape: [width], start: .constant(0)),
      ]
      shapes += part.map { $0.under("layers.\(layer)") }
    }
    return shapes
  }

  /// sin(p / 10000^(2i/width)) and cos of it in turn, `[steps, width]`.
  static func sinusoids(steps: Int, width: Int) -> Tensor {
    var values: [Float] = []
    values.reserveCapacity(steps * width)
    for position in 0..<steps {
      for column in 0..<width {
        let exponent = Double(column - column % 2) / Double(width)
        let angle = Double(position) / Foundation.pow(10000, exponent)
        values.append(Float(column % 2 == 0 ? sin(angle) : cos(angle)))
      }
    }
    return Tensor(values, shape: [steps, width])
  }

  // MARK: Rows of a batch

  /// The steps of a batch that are kept, one sample after another.
  private struct Rows {
    /// Of the steps of all samples.
    var kept: [Int] = []
    /// For each its place in the sample, from the first that is kept.
    var places: [Int] = []
    /// Rows of each sample.
    var lengths: [Int] = []

    /// - Parameter isPadding: Whether a step of all samples is padding.
    init(samples: Int, steps: Int, isPadding: (Int) -> Bool) {
      for sample in 0..<samples {
        let own = sample * steps..<(sample + 1) * steps
        let first = own.first { !isPadding($0) } ?? own.lowerBound
        let last = own.last { !isPadding($0) } ?? own.lowerBound
        kept += first...last
        places += 0...last - first
        lengths.append(last - first + 1)
      }
    }

    /// Where the rows of each sample begin and end.
    var ranges: [Range<Int>] {
      var start = 0
      return lengths.map { length in
        defer { start += length }
        return start..<start + length
      }
    }
  }

  /// The numbers of all steps, `[samples · steps, size]`.
  private func steps(of input: Tensor) -> Tensor {
    let samples = input.shape[0]
    let (steps, size) = Self.sizes(inputShape, reading)
    guard reading == .columns else { return input.reshaped(to: [samples * steps, size]) }
    let rows = inputShape[0]
    let channels = size / rows
    let order = (0..<samples * steps * rows).map { index in
      let (step, row) = (index / rows, index % rows)
      return (step / steps * rows + row) * steps + step % steps
    }
    return input.reshaped(to: [samples * rows * steps, channels]).gatherRows(order)
      .reshaped(to: [samples * steps, size])
  }

  /// The first rows x and which steps they are.
  private func embedded(_ input: Tensor, _ pass: EncoderPass) -> (x: Tensor, rows: Rows) {
    let (samples, count) = (input.shape[0], Self.sizes(inputShape, reading).steps)
    let all = steps(of: input)
    let leavesOut = options.leavesOutPadding
    if case .tokens(let vocabulary) = reading {
      let ids = all.hostValues().map { Int($0) }
      require(ids.allSatisfy { 0...vocabulary ~= $0 }, "tokens beyond a vocabulary of \(vocabulary)")
      let rows = Rows(samples: samples, steps: count) { leavesOut && ids[$0] == 0 }
      return (LinearWeight(pass["embedding.weight"]).rows(rows.kept.map { ids[$0] }), rows)
    }
    let values = leavesOut ? all.hostValues() : []
    let size = all.columns
    let rows = Rows(samples: samples, steps: count) { step in
      leavesOut && values[step * size..<(step + 1) * size].allSatisfy { $0 == 0 }
    }
    let kept = rows.kept.count == samples * count ? all : all.gatherRows(rows.kept)
    return (LinearWeight(pass["projection.weight"]).forward(kept), rows)
  }

  // MARK: Layers

  func features(of input: Tensor, _ pass: EncoderPass) -> Tensor {
    var (x, rows) = embedded(input, pass)
    switch options.positions {
    case .none: break
    case .learned: x = x + pass["positions"].gatherRows(rows.places)
    case .sinusoidal: if let sinusoids { x = x + sinusoids.gatherRows(rows.places) }
    }
    let ranges = rows.ranges
    // Nothing reads other rows of the last layer than the one that is taken.
    let taken: [Int]? =
      switch options.pooling {
      case .last: ranges.map { $0.upperBound - 1 }
      case .first: ranges.map(\.lowerBound)
      case .mean: nil
      }
    let all = ranges.map { AttentionSequence(queries: $0, keys: $0) }
    for layer in 0..<options.layers {
      let name = "layers.\(layer)."
      if let taken, layer == options.layers - 1 {
        let sequences = ranges.indices.map { AttentionSequence(queries: $0..<$0 + 1, keys: ranges[$0]) }
        x = self.layer(name, x, rows: taken, sequences, pass)
      } else {
        x = self.layer(name, x, rows: nil, all, pass)
      }
    }
    switch options.pooling {
    case .last, .first: return x
    case .mean:
      let samples = rows.lengths.indices.flatMap { Array(repeating: $0, count: rows.lengths[$0]) }
      let sums = Tensor(zeros: [rows.lengths.count, options.width]).addingRows(x, at: samples)
      return sums * Tensor(column: rows.lengths.map { 1 / Double($0) })
    }
  }

  /// One layer.
  ///
  /// - Parameter taken: The rows whose output is wanted, one for each sequence, or nil for all.
  private func layer(
    _ name: String, _ x: Tensor, rows taken: [Int]?, _ sequences: [AttentionSequence], _ pass: EncoderPass
  ) -> Tensor {
    func linear(_ x: Tensor, _ weight: String, _ bias: String) -> Tensor {
      LinearWeight(pass[name + weight]).forward(x, bias: pass[name + bias])
    }
    func norm(_ x: Tensor, _ norm: String) -> Tensor {
      x.layerNorm(
        weight: pass[name + norm + ".weight"], bias: pass[name + norm + ".bias"], epsilon: Self.epsilon)
    }
    let width = options.width
    let attention = Attention(
      heads: options.heads, keyValueHeads: options.heads, headSize: width / options.heads)
    let residual = taken.map(x.gatherRows) ?? x
    let (queries, keys, values): (Tensor, Tensor, Tensor)
    if taken == nil {
      let joined = linear(x, "self_attn.in_proj_weight", "self_attn.in_proj_bias")
      (queries, keys) = (joined.columns(0..<width), joined.columns(width..<2 * width))
      values = joined.columns(2 * width..<3 * width)
    } else {
      // Of the matrix for queries, keys and values the first rows are for queries.
      let weight = pass[name + "self_attn.in_proj_weight"].split(sizes: [width, 2 * width])
      let bias = pass[name + "self_attn.in_proj_bias"].split(sizes: [width, 2 * width])
      queries = LinearWeight(weight[0]).forward(residual, bias: bias[0])
      let joined = LinearWeight(weight[1]).forward(x, bias: bias[1])
      (keys, values) = (joined.columns(0..<width), joined.columns(width..<2 * width))
    }
    let attended = attention(
      queries: queries, keys: keys, values: values, sequences: sequences, mask: .full
    ).output
    let output = linear(attended, "self_attn.out_proj.weight", "self_attn.out_proj.bias")
    let between = norm(residual + pass.dropped(output, rate: options.dropout, name + "dropout1"), "norm1")
    let inner = pass.dropped(
      linear(between, "linear1.weight", "linear1.bias").relu(), rate: options.dropout, name + "dropout")
    let fed = linear(inner, "linear2.weight", "linear2.bias")
    return norm(between + pass.dropped(fed, rate: options.dropout, name + "dropout2"), "norm2")
  }
}
