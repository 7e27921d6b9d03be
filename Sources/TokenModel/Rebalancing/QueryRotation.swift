public import RunKit
import TensorCore

/// A rotation that maps one direction to another, as a product of reflections I − 2 v vᵀ with unit vectors v.
///
/// Their number is even, so that the determinant is +1 by construction, and each is orthogonal whatever the rounding of
/// the others. Applied to a vector, a rotation costs two products for each reflection; no matrix is needed.
public struct QueryRotation: Sendable, Equatable {
  /// Components of a vector.
  public let size: Int
  /// The unit vectors, the first reflection first.
  let normals: [[Double]]

  /// Below this length of x + y the directions count as opposite: the rotation then misses y by less than this.
  private static let oppositeLength = 1e-9

  /// The rotation in the plane of two directions; every vector across the plane stays as it is.
  ///
  ///     R = (I − 2 s sᵀ)(I − 2 x xᵀ),   s = (x + y) / |x + y|:   x → −x → y
  ///
  /// Equal directions give the identity. For opposite ones there is no single plane: s is then the axis in which x is
  /// smallest, made orthogonal to x.
  ///
  /// - Parameters:
  ///   - source: x, any length but 0, at least two components.
  ///   - target: y, any length but 0.
  public static func minimal(from source: [Double], to target: [Double]) -> QueryRotation {
    let (x, y) = (unit(source), unit(target))
    require(
      x.count == y.count && x.count > 1, "a rotation from \(x.count) to \(y.count) components, at least two")
    if x == y { return QueryRotation(size: x.count, normals: []) }
    let sum = zip(x, y).map { $0 + $1 }
    let middle = length(sum) < oppositeLength ? axis(across: x) : unit(sum)
    return QueryRotation(size: x.count, normals: [x, middle])
  }

  /// A rotation that maps x to y and turns everything else at random: what the singular value decomposition of y xᵀ,
  /// a matrix of rank 1, leaves open and a numerical library decides by its rounding.
  ///
  /// - Parameter stream: Draws the part across y; `size` normal vectors, an even number of them.
  public static func arbitrary(
    from source: [Double], to target: [Double], using stream: inout RandomStream
  ) -> QueryRotation {
    let minimal = minimal(from: source, to: target)
    let (size, y) = (minimal.size, unit(target))
    // Across y there is one direction only for two components: the rotation is then the minimal one.
    guard size > 2 else { return minimal }
    var normals = minimal.normals
    for _ in 0..<size / 2 * 2 {
      let drawn = (0..<size).map { _ in stream.normal() }
      normals.append(unit(across(drawn, y)))
    }
    return QueryRotation(size: size, normals: normals)
  }

  /// R v.
  public func applied(to vector: [Double]) -> [Double] {
    normals.reduce(vector) { vector, normal in
      let factor = 2 * Self.product(normal, vector)
      return zip(vector, normal).map { $0 - factor * $1 }
    }
  }

  /// Multiplies a matrix `[size, size]`, row-major, from the left: M ← R M.
  public func multiply(onto matrix: inout [Double]) {
    require(matrix.count == size * size, "\(matrix.count) elements for a matrix of \(size) rows")
    for normal in normals {
      var sums = [Double](repeating: 0, count: size)
      for row in 0..<size {
        for column in 0..<size { sums[column] += normal[row] * matrix[row * size + column] }
      }
      for row in 0..<size {
        let factor = 2 * normal[row]
        for column in 0..<size { matrix[row * size + column] -= factor * sums[column] }
      }
    }
  }

  /// The matrix `[size, size]`, row-major.
  public var matrix: [Double] {
    var matrix = Self.identity(size)
    multiply(onto: &matrix)
    return matrix
  }

  /// Why a matrix is no rotation, which has orthogonal rows of length 1 and determinant 1; nil if it is one.
  static func fault(of matrix: [Double], _ size: Int) -> String? {
    let rows = (0..<size).map { Array(matrix[$0 * size..<($0 + 1) * size]) }
    for (index, row) in rows.enumerated() {
      guard row.allSatisfy({ abs($0) <= 2 }), abs(product(row, row) - 1) <= 1e-4 else {
        return "has a row of another length than 1"
      }
      for other in rows[..<index] where abs(product(row, other)) > 1e-4 {
        return "has rows that are not orthogonal"
      }
    }
    // Elimination with the largest pivot; only the sign of the determinant is wanted.
    var (rest, sign) = (rows, 1.0)
    for column in 0..<size {
      let pivot = (column..<size).max { abs(rest[$0][column]) < abs(rest[$1][column]) } ?? column
      if pivot != column {
        rest.swapAt(pivot, column)
        sign = -sign
      }
      if rest[column][column] < 0 { sign = -sign }
      for row in column + 1..<size {
        let factor = rest[row][column] / rest[column][column]
        for place in column..<size { rest[row][place] -= factor * rest[column][place] }
      }
    }
    return sign > 0 ? nil : "is a reflection"
  }

  /// The matrix that changes nothing.
  static func identity(_ size: Int) -> [Double] {
    (0..<size * size).map { $0 % (size + 1) == 0 ? 1 : 0 }
  }

  // MARK: Vectors

  static func product(_ left: [Double], _ right: [Double]) -> Double {
    var sum = 0.0
    for index in left.indices { sum += left[index] * right[index] }
    return sum
  }

  static func length(_ vector: [Double]) -> Double { product(vector, vector).squareRoot() }

  static func unit(_ vector: [Double]) -> [Double] {
    let length = length(vector)
    require(length > 0 && length.isFinite, "a direction of length \(length)")
    return vector.map { $0 / length }
  }

  /// The part of a vector across a unit vector.
  private static func across(_ vector: [Double], _ unit: [Double]) -> [Double] {
    // Twice: once leaves a part along the unit vector as large as the rounding of what it takes away.
    var rest = vector
    for _ in 0..<2 {
      let part = product(rest, unit)
      rest = zip(rest, unit).map { $0 - part * $1 }
    }
    return rest
  }

  /// A unit vector across another one.
  private static func axis(across unit: [Double]) -> [Double] {
    let smallest = unit.indices.min { abs(unit[$0]) < abs(unit[$1]) } ?? 0
    return Self.unit(across(unit.indices.map { $0 == smallest ? 1 : 0 }, unit))
  }
}
