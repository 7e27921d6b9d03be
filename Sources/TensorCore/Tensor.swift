/// A dense float32 array in row-major order; a value.
///
/// Kernels return new tensors and never change one that is in use, so copies share their elements. A tensor may be a
/// run of whole rows of another one, which costs no copy either.
public struct Tensor: Sendable {
  /// The size of each axis, outermost first; empty for a scalar.
  public let shape: [Int]
  private(set) var storage: TensorStorage
  let offset: Int
  /// Where a tape notes what becomes of it; nil for a tensor that none follows.
  var node: Tape.Node?

  init(shape: [Int], storage: TensorStorage, offset: Int = 0) {
    self.shape = shape
    self.storage = storage
    self.offset = offset
    require(
      offset + shape.reduce(1, *) <= storage.count, "shape \(shape) does not fit \(storage.count) elements")
  }

  /// A tensor with undefined elements, for a kernel to fill.
  init(uninitialized shape: [Int]) {
    require(shape.allSatisfy { $0 >= 0 }, "a negative size in shape \(shape)")
    self.init(shape: shape, storage: TensorStorage(uninitialized: shape.reduce(1, *)))
  }

  /// A tensor of the given elements in row-major order.
  public init(_ elements: [Float], shape: [Int]) {
    require(elements.count == shape.reduce(1, *), "\(elements.count) elements do not fill shape \(shape)")
    self.init(uninitialized: shape)
    Kernels.copy(elements, to: self)
  }

  /// A tensor with every element 0.
  public init(zeros shape: [Int]) {
    self.init(repeating: 0, shape: shape)
  }

  /// A tensor with every element `value`.
  public init(repeating value: Float, shape: [Int]) {
    self.init(uninitialized: shape)
    Kernels.fill(self, with: value)
  }

  /// A tensor without axes.
  public init(scalar: Float) {
    self.init([scalar], shape: [])
  }

  /// The number of axes.
  public var rank: Int { shape.count }
  /// The number of elements.
  public var count: Int { shape.reduce(1, *) }
  /// The size of the innermost axis; 1 for a scalar.
  public var columns: Int { shape.last ?? 1 }
  /// The number of rows when all axes but the innermost are taken together.
  public var rows: Int { columns == 0 ? shape.dropLast().reduce(1, *) : count / columns }

  /// The elements, copied to an array: the one way to read a tensor on the host.
  public func hostValues() -> [Float] {
    Kernels.array(of: self)
  }

  /// The innermost rows, copied to arrays.
  public func hostRows() -> [[Float]] {
    let (elements, columns) = (hostValues(), columns)
    return (0..<rows).map { Array(elements[$0 * columns..<($0 + 1) * columns]) }
  }

  /// Σ a b over all elements in their order, in double precision; followed by no tape.
  public func innerProduct(_ other: Tensor) -> Double {
    require(count == other.count, "\(shape) and \(other.shape) have no inner product")
    return Kernels.innerProduct(self, other)
  }

  /// The same elements under another shape with as many elements.
  public func reshaped(to shape: [Int]) -> Tensor {
    require(shape.reduce(1, *) == count, "\(self.shape) cannot become \(shape)")
    let before = self.shape
    return Tensor(shape: shape, storage: storage, offset: offset).recorded(from: [self]) { gradient, _ in
      [gradient.reshaped(to: before)]
    }
  }

  /// Rows `range` of the outermost axis, without a copy.
  public func slice(_ range: Range<Int>) -> Tensor {
    require(
      rank > 0 && range.lowerBound >= 0 && range.upperBound <= shape[0], "rows \(range) of shape \(shape)")
    let stride = shape.dropFirst().reduce(1, *)
    let output = Tensor(
      shape: [range.count] + shape.dropFirst(), storage: storage, offset: offset + range.lowerBound * stride)
    let shape = shape
    return output.recorded(from: [self]) { gradient, _ in
      [Tensor(zeros: shape).replacingRows(Array(range), with: gradient)]
    }
  }

  /// Whether nobody else holds the elements, so that a kernel may change them.
  mutating func isUniquelyHeld() -> Bool { isKnownUniquelyReferenced(&storage) }
}

extension Tensor: Equatable {
  /// Whether shapes agree and elements compare equal; NaN equals nothing.
  public static func == (left: Tensor, right: Tensor) -> Bool {
    left.shape == right.shape && left.hostValues() == right.hostValues()
  }
}

extension Tensor: CustomStringConvertible {
  /// The shape and the first elements.
  public var description: String {
    "Tensor\(shape) \(hostValues().prefix(8))\(count > 8 ? "…" : "")"
  }
}
