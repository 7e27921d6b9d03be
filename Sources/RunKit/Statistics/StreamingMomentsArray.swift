/// `StreamingMoments` for every element of an array of fixed shape, such as `[layers, heads, groups]`.
public struct StreamingMomentsArray: Equatable, Sendable {
  /// The sizes of the axes.
  public let shape: [Int]
  /// How many arrays were added.
  public private(set) var count = 0
  /// The means in row-major order, as all arrays here; zeros while there are none.
  public private(set) var mean: [Double]
  /// M₂, the sums of squared distances from the mean.
  public private(set) var sumOfSquares: [Double]
  /// The least values; infinite while there are none.
  public private(set) var minimum: [Double]
  /// The greatest values; minus infinite while there are none.
  public private(set) var maximum: [Double]

  /// No arrays yet.
  ///
  /// - Parameter shape: The sizes of the axes, at least 0 each.
  public init(shape: [Int]) {
    let size = shape.reduce(1, *)
    self.shape = shape
    mean = [Double](repeating: 0, count: size)
    sumOfSquares = mean
    minimum = [Double](repeating: .infinity, count: size)
    maximum = [Double](repeating: -.infinity, count: size)
  }

  /// Adds one array.
  ///
  /// - Parameter values: Row-major, as many as the shape says; another number is a defect and traps.
  public mutating func add(_ values: [Double]) {
    precondition(values.count == mean.count, "\(values.count) values for the shape \(shape)")
    count += 1
    let divisor = Double(count)
    for index in values.indices {
      let value = values[index]
      let delta = value - mean[index]
      mean[index] += delta / divisor
      sumOfSquares[index] += delta * (value - mean[index])
      minimum[index] = Swift.min(minimum[index], value)
      maximum[index] = Swift.max(maximum[index], value)
    }
  }

  /// Adds one array of single precision.
  public mutating func add(_ values: [Float]) {
    add(values.map(Double.init))
  }

  /// Adds the arrays behind other moments of the same shape.
  public mutating func merge(_ other: StreamingMomentsArray) {
    precondition(other.shape == shape, "the shapes \(shape) and \(other.shape) differ")
    for index in mean.indices {
      var moments = self[index]
      moments.merge(other[index])
      mean[index] = moments.mean
      sumOfSquares[index] = moments.sumOfSquares
      minimum[index] = moments.minimum
      maximum[index] = moments.maximum
    }
    count += other.count
  }

  /// The moments of one element.
  ///
  /// - Parameter index: Its place in row-major order.
  public subscript(index: Int) -> StreamingMoments {
    StreamingMoments(
      count: count, mean: mean[index], sumOfSquares: sumOfSquares[index], minimum: minimum[index],
      maximum: maximum[index])
  }
}
