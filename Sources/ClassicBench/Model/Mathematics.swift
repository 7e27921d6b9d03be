import Foundation
import TensorCore

/// Functions that losses of the classic methods need, composed of the operations of TensorCore, so that their gradients
/// come from the tape.
extension Tensor {
  /// 1 / (1 + e⁻ˣ) of every element, without overflow: the first of two softmax probabilities of (x, 0).
  func logistic() -> Tensor {
    let column = reshaped(to: [count, 1])
    return Tensor.concatenatedColumns([column, Tensor(zeros: [count, 1])]).softmax().columns(0..<1)
      .reshaped(to: shape)
  }

  /// tanh x of every element, to about 1e-7 of its value.
  ///
  /// Near 0, where 2 logistic(2x) − 1 would lose digits, it is Lambert's continued fraction cut after five terms.
  func hyperbolicTangent() -> Tensor {
    let isSmall = Tensor(hostValues().map { abs($0) <= 0.75 ? 1 : 0 }, shape: shape)
    let small = self * isSmall
    let square = small * small
    let numerator = small * (square * (square + 105) + 945)
    let denominator = square * (15 * square + 420) + 945
    let large = (2 * (2 * self).logistic() + -1) * (-1 * isSmall + 1)
    return numerator / denominator + large
  }

  /// Each row divided by its Euclidean norm; a row of zeros stays.
  func rowsNormalized() -> Tensor {
    // x / √(mean x² + ε) is √d times the unit row; ε far below any real norm keeps a row of zeros finite.
    let ones = Tensor(repeating: 1, shape: [columns])
    return (1 / Float(columns).squareRoot()) * rmsNorm(weight: ones, epsilon: 1e-24)
  }

  /// log(eˣ + eʸ) of every pair of elements.
  func logAddedExponentials(_ other: Tensor) -> Tensor {
    let pairs = [reshaped(to: [count, 1]), other.reshaped(to: [count, 1])]
    return Tensor.concatenatedColumns(pairs).logSumExp().reshaped(to: shape)
  }

  /// The mean over samples of the cross-entropy with their labels, in nats.
  func meanCrossEntropy(_ labels: [Int]) -> Tensor { crossEntropy(labels: labels).mean() }

  /// A tensor of numbers that are computed in Float64.
  init(column values: [Double]) { self.init(values.map { Float($0) }, shape: [values.count, 1]) }

  /// The elements in Float64.
  var doubleValues: [Double] { hostValues().map { Double($0) } }
}

/// The mean over samples of the Jensen-Shannon divergence of two rows of logits, in nats.
///
///     JS = (KL(p ‖ m) + KL(q ‖ m)) / 2,   m = (p + q) / 2
///
/// - Returns: A scalar in 0...log 2.
func jensenShannonDivergence(_ left: Tensor, _ right: Tensor) -> Tensor {
  let (p, q) = (left.logSoftmax(), right.logSoftmax())
  let mixture = p.logAddedExponentials(q) + Float(-log(2.0))
  let parts = left.softmax() * (p - mixture) + right.softmax() * (q - mixture)
  return 0.5 * parts.rowSums().mean()
}

/// Σ_c p_c (log p_c − log q_c) of each row, the divergence of q's prediction from p's, `[samples]`.
func divergence(of student: Tensor, from teacher: Tensor) -> Tensor {
  (teacher.softmax() * (teacher.logSoftmax() - student.logSoftmax())).rowSums()
}

/// The inner product of two lists of tensors of the same shapes, added up in Float64.
func innerProduct(_ left: [Tensor], _ right: [Tensor]) -> Double {
  zip(left, right).reduce(0.0) { $0 + $1.0.innerProduct($1.1) }
}

/// The cosine of the angle between two lists of tensors; 0 where one is zero.
func cosine(_ left: [Tensor], _ right: [Tensor]) -> Double {
  let norms = (innerProduct(left, left) * innerProduct(right, right)).squareRoot()
  return norms > 0 ? innerProduct(left, right) / norms : 0
}
