import Foundation

/// Rotary position embedding in the rotate-half layout of Hugging Face checkpoints.
///
///     x'ᵢ        = xᵢ cos θᵢ(p) − xᵢ₊ₕ sin θᵢ(p)
///     x'ᵢ₊ₕ      = xᵢ₊ₕ cos θᵢ(p) + xᵢ sin θᵢ(p),   h = headSize / 2,  θᵢ(p) = p · fᵢ
///
/// Source: Su et al., "RoFormer", 2021, arXiv:2104.09864, equation 34.
public struct RotaryEmbedding: Sendable {
  /// How the base frequencies are changed for longer contexts.
  public enum Scaling: Sendable, Equatable {
    /// fᵢ = base^(−2i / headSize).
    case none
    /// All frequencies divided by a factor.
    case linear(factor: Double)
    /// Llama 3.1: low frequencies divided by a factor, high ones kept, those between interpolated.
    case llama3(factor: Double, lowFrequencyFactor: Double, highFrequencyFactor: Double, originalContext: Int)
  }

  /// fᵢ for each of the headSize / 2 pairs.
  public let frequencies: [Float]
  /// For each pair the axis of positions it turns by; all 0 where rows have one position.
  public let axes: [Int]

  /// - Parameters:
  ///   - headSize: Even.
  ///   - base: θ of the configuration, above 0.
  ///   - sections: How many pairs turn by each axis of positions, the first axis first; they sum to headSize / 2. Empty
  ///     where rows have one position (Wang et al., "Qwen2-VL", 2024, arXiv:2409.12191, section 2.1: M-RoPE).
  public init(headSize: Int, base: Double, scaling: Scaling = .none, sections: [Int] = []) {
    require(
      headSize > 0 && headSize % 2 == 0 && base > 0, "rotary embedding of size \(headSize), base \(base)")
    axes =
      sections.isEmpty
      ? [Int](repeating: 0, count: headSize / 2)
      : sections.enumerated().flatMap { [Int](repeating: $0.offset, count: $0.element) }
    require(axes.count == headSize / 2, "rotary sections \(sections) of \(headSize / 2) pairs")
    frequencies = (0..<headSize / 2).map { pair in
      // The reference computes powers in float32; exponents are exact there, the power is rounded once.
      let frequency = Double(1 / Float(Foundation.pow(base, Double(2 * pair) / Double(headSize))))
      switch scaling {
      case .none: return Float(frequency)
      case .linear(let factor): return Float(frequency / factor)
      case .llama3(let factor, let low, let high, let context):
        let wavelength = 2 * Double.pi / frequency
        if wavelength < Double(context) / high { return Float(frequency) }
        if wavelength > Double(context) / low { return Float(frequency / factor) }
        let smooth = (Double(context) / wavelength - low) / (high - low)
        return Float((1 - smooth) * frequency / factor + smooth * frequency)
      }
    }
  }

  /// cos and sin of every row's angles, `[rows, headSize / 2]` each.
  public func tables(positions: [Int]) -> (cosine: Tensor, sine: Tensor) {
    tables(positions: RowPositions(positions))
  }

  /// cos and sin of every row's angles, `[rows, headSize / 2]` each.
  ///
  /// - Parameter positions: With one axis, every pair turns by it; otherwise each by its own.
  public func tables(positions: RowPositions) -> (cosine: Tensor, sine: Tensor) {
    let isShared = positions.axes.count == 1
    require(isShared || axes.allSatisfy { $0 < positions.axes.count }, "positions without the axes of \(axes)")
    var (cosines, sines): ([Float], [Float]) = ([], [])
    cosines.reserveCapacity(positions.count * frequencies.count)
    sines.reserveCapacity(positions.count * frequencies.count)
    for row in 0..<positions.count {
      for (pair, frequency) in frequencies.enumerated() {
        let position = positions.axes[isShared ? 0 : axes[pair]][row]
        // The product is rounded to float32, as the reference does; its cosine is then as exact as can be.
        let angle = Double(Float(position) * frequency)
        cosines.append(Float(cos(angle)))
        sines.append(Float(sin(angle)))
      }
    }
    let shape = [positions.count, frequencies.count]
    return (Tensor(cosines, shape: shape), Tensor(sines, shape: shape))
  }
}

/// The rotary positions of rows: one number for each row, or several, such as time, height and width.
public struct RowPositions: Sendable, Equatable {
  /// For each axis the positions of all rows.
  public let axes: [[Int]]

  /// One position for each row.
  public init(_ positions: [Int]) { axes = [positions] }

  /// - Parameter axes: At least one, all of one length.
  public init(axes: [[Int]]) {
    require(!axes.isEmpty && axes.allSatisfy { $0.count == axes[0].count }, "axes of different lengths")
    self.axes = axes
  }

  /// Positions 0, 1, … on one axis.
  public static func counting(_ count: Int) -> RowPositions { RowPositions(Array(0..<count)) }

  /// The number of rows.
  public var count: Int { axes[0].count }

  /// Where text goes on after these rows: one more than the largest position of any axis, 0 after none.
  public var next: Int { axes.reduce(0) { max($0, ($1.max() ?? -1) + 1) } }

  /// The positions of some rows.
  public func selecting(_ rows: some Collection<Int>) -> RowPositions {
    RowPositions(axes: axes.map { axis in rows.map { axis[$0] } })
  }

  /// These rows and then others; one axis stands for all where the other has several.
  public func appending(_ other: RowPositions) -> RowPositions {
    let count = max(axes.count, other.axes.count)
    require(
      [1, count].contains(axes.count) && [1, count].contains(other.axes.count),
      "positions of \(axes.count) and of \(other.axes.count) axes")
    return RowPositions(
      axes: (0..<count).map { axis in
        axes[axes.count == 1 ? 0 : axis] + other.axes[other.axes.count == 1 ? 0 : axis]
      })
  }

  /// Rows of several sequences, one sequence after another.
  public static func concatenated(_ parts: [RowPositions]) -> RowPositions {
    parts.dropFirst().reduce(parts.first ?? RowPositions([])) { $0.appending($1) }
  }

  /// Text rows that go on at `first`, on as many axes.
  public func continuing(_ count: Int) -> RowPositions {
    let first = next
    return RowPositions(axes: axes.map { _ in Array(first..<first + count) })
  }
}

extension Tensor {
  /// Rotates every head of every row.
  ///
  /// - Parameters:
  ///   - cosine: `[rows, headSize / 2]`.
  ///   - sine: `[rows, headSize / 2]`.
  /// - Returns: `[rows, heads * headSize]`, as self.
  public func rotated(cosine: Tensor, sine: Tensor) -> Tensor {
    require(
      rank == 2 && cosine.rows == rows && cosine.shape == sine.shape && columns % (2 * cosine.columns) == 0,
      "rotation of \(shape) by tables of \(cosine.shape)")
    let (cosine, sine) = (cosine.detached, sine.detached)
    return Kernels.rotate(self, cosine: cosine, sine: sine).recorded(from: [self]) { gradient, _ in
      // The transpose of a rotation turns back.
      [Kernels.rotate(gradient, cosine: cosine, sine: -1 * sine)]
    }
  }
}
