import CKernels

/// Elementwise arithmetic; shapes broadcast as in NumPy.
extension Tensor {
  /// The elementwise sum.
  public static func + (left: Tensor, right: Tensor) -> Tensor { unsafe Kernels.zip(left, right, ck_add) }
  /// The elementwise difference.
  public static func - (left: Tensor, right: Tensor) -> Tensor {
    unsafe Kernels.zip(left, right, ck_subtract)
  }
  /// The elementwise product.
  public static func * (left: Tensor, right: Tensor) -> Tensor {
    unsafe Kernels.zip(left, right, ck_multiply)
  }
  /// The elementwise quotient.
  public static func / (left: Tensor, right: Tensor) -> Tensor { unsafe Kernels.zip(left, right, ck_divide) }
  /// Every element times a number.
  public static func * (left: Float, right: Tensor) -> Tensor { right * Tensor(scalar: left) }
  /// Every element plus a number.
  public static func + (left: Tensor, right: Float) -> Tensor { left + Tensor(scalar: right) }

  /// e to the power of every element.
  public func exponential() -> Tensor { unsafe Kernels.map(self, ck_exp) }

  /// x · sigmoid(x).
  public func silu() -> Tensor { unsafe Kernels.map(self, ck_silu) }

  /// silu(self) · other, in one pass: the inner step of SwiGLU.
  ///
  /// Source: Shazeer, "GLU Variants Improve Transformer", 2020, arXiv:2002.05202, equation 6.
  public func siluMultiplied(by other: Tensor) -> Tensor {
    require(shape == other.shape, "gate \(shape) and up \(other.shape)")
    return unsafe Kernels.zip(self, other, ck_silu_multiply)
  }

  /// x · Φ(x) with the exact normal distribution function; error at most 4e-7 absolute.
  ///
  /// Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, arXiv:1606.08415.
  public func gelu() -> Tensor { unsafe Kernels.map(self, ck_gelu_erf) }

  /// The tanh form of GELU, x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))).
  public func geluTanh() -> Tensor { unsafe Kernels.map(self, ck_gelu_tanh) }
}
