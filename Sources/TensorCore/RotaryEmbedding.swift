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

  /// - Parameters:
  ///   - headSize: Even.
  ///   - base: θ of the configuration, above 0.
  public init(headSize: Int, base: Double, scaling: Scaling = .none) {
    require(
      headSize > 0 && headSize % 2 == 0 && base > 0, "rotary embedding of size \(headSize), base \(base)")
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
    var (cosines, sines): ([Float], [Float]) = ([], [])
    cosines.reserveCapacity(positions.count * frequencies.count)
    sines.reserveCapacity(positions.count * frequencies.count)
    for position in positions {
      for frequency in frequencies {
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
