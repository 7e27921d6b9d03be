import CKernels

/// Elementwise arithmetic; shapes broadcast as in NumPy.
extension Tensor {
  /// The elementwise sum.
  public static func + (left: Tensor, right: Tensor) -> Tensor {
    let (leftShape, rightShape) = (left.shape, right.shape)
    return unsafe Kernels.zip(left, right, ck_add).recorded(from: [left, right]) { gradient, needs in
      [
        needs[0] ? gradient.summed(to: leftShape) : nil,
        needs[1] ? gradient.summed(to: rightShape) : nil,
      ]
    }
  }

  /// The elementwise difference.
  public static func - (left: Tensor, right: Tensor) -> Tensor {
    let (leftShape, rightShape) = (left.shape, right.shape)
    return unsafe Kernels.zip(left, right, ck_subtract).recorded(from: [left, right]) { gradient, needs in
      [
        needs[0] ? gradient.summed(to: leftShape) : nil,
        needs[1] ? -1 * gradient.summed(to: rightShape) : nil,
      ]
    }
  }

  /// The elementwise product.
  public static func * (left: Tensor, right: Tensor) -> Tensor {
    let (a, b) = (left.detached, right.detached)
    return unsafe Kernels.zip(left, right, ck_multiply).recorded(from: [left, right]) { gradient, needs in
      [
        needs[0] ? (gradient * b).summed(to: a.shape) : nil,
        needs[1] ? (gradient * a).summed(to: b.shape) : nil,
      ]
    }
  }

  /// The elementwise quotient.
  public static func / (left: Tensor, right: Tensor) -> Tensor {
    let output = unsafe Kernels.zip(left, right, ck_divide)
    let (a, b) = (left.detached, right.detached)
    return output.recorded(from: [left, right]) { gradient, needs in
      let part = gradient / b
      return [
        needs[0] ? part.summed(to: a.shape) : nil,
        needs[1] ? -1 * (part * output).summed(to: b.shape) : nil,
      ]
    }
  }

  /// Every element times a number.
  public static func * (left: Float, right: Tensor) -> Tensor { right * Tensor(scalar: left) }
  /// Every element plus a number.
  public static func + (left: Tensor, right: Float) -> Tensor { left + Tensor(scalar: right) }

  /// e to the power of every element.
  public func exponential() -> Tensor {
    let output = unsafe Kernels.map(self, ck_exp)
    return output.recorded(from: [self]) { gradient, _ in [gradient * output] }
  }

  /// x · sigmoid(x).
  public func silu() -> Tensor {
    let input = detached
    return unsafe Kernels.map(self, ck_silu).recorded(from: [self]) { gradient, _ in
      unsafe [Kernels.zip(input, gradient, ck_silu_gradient)]
    }
  }

  /// silu(self) · other, in one pass: the inner step of SwiGLU.
  ///
  /// Source: Shazeer, "GLU Variants Improve Transformer", 2020, arXiv:2002.05202, equation 6.
  public func siluMultiplied(by other: Tensor) -> Tensor {
    require(shape == other.shape, "gate \(shape) and up \(other.shape)")
    let (gate, up) = (detached, other.detached)
    return unsafe Kernels.zip(self, other, ck_silu_multiply).recorded(from: [self, other]) { gradient, _ in
      let (gateGradient, upGradient) = Kernels.siluMultiplyGradients(gate: gate, up: up, gradient)
      return [gateGradient, upGradient]
    }
  }

  /// x · Φ(x) with the exact normal distribution function; error at most 4e-7 absolute.
  ///
  /// Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, arXiv:1606.08415.
  public func gelu() -> Tensor {
    let input = detached
    return unsafe Kernels.map(self, ck_gelu_erf).recorded(from: [self]) { gradient, _ in
      unsafe [Kernels.zip(input, gradient, ck_gelu_erf_gradient)]
    }
  }

  /// The tanh form of GELU, x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))).
  public func geluTanh() -> Tensor {
    let input = detached
    return unsafe Kernels.map(self, ck_gelu_tanh).recorded(from: [self]) { gradient, _ in
      unsafe [Kernels.zip(input, gradient, ck_gelu_tanh_gradient)]
    }
  }

  /// Sets elements to 0 with probability `rate` and divides the others by 1 − rate.
  ///
  /// Which elements fall depends on the key and their place alone, so the same call drops the same again.
  ///
  /// Source: Srivastava et al., "Dropout", JMLR 15, 2014, section 10.
  ///
  /// - Parameters:
  ///   - rate: In 0..<1; 0 changes nothing.
  ///   - key: From a `RandomStream` of the step and the site.
  public func dropout(rate: Float, key: UInt64) -> Tensor {
    require(rate >= 0 && rate < 1, "a dropout rate of \(rate)")
    if rate == 0 { return self }
    return Kernels.dropout(self, rate: rate, key: key).recorded(from: [self]) { gradient, _ in
      [Kernels.dropout(gradient, rate: rate, key: key)]
    }
  }
}
