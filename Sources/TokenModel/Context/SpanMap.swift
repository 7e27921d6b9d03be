import TensorCore

/// What every position of a sequence is, after placeholders were replaced by the rows of their media.
///
/// Built once by the prompt builder of a family from the ids and grids it really produced; nothing else counts tokens.
public struct SpanMap: Sendable, Equatable {
  /// Consecutive positions of one role that belong together, such as the rows of one image.
  public struct Span: Sendable, Equatable {
    /// What the positions are for.
    public let role: Role
    /// The positions.
    public let positions: Range<Int>
    /// Which medium of the prompt the rows come from, counted over all media; nil for text.
    public let medium: Int?
    /// Rows and columns of the grid the positions fill, row by row; nil for text and for separators of a medium.
    public let grid: Grid?
    /// Which of the medium's rows stand here, counted over all its spans; nil for text.
    public let rows: Range<Int>?
  }

  /// The arrangement of a medium's rows.
  public struct Grid: Sendable, Equatable {
    /// Rows from top to bottom; 1 for a sequence in time.
    public let rows: Int
    /// Columns from left to right, or steps in time.
    public let columns: Int

    /// A grid of rows and columns.
    public init(rows: Int, columns: Int) { (self.rows, self.columns) = (rows, columns) }
  }

  /// The spans in order; together they cover every position once.
  public private(set) var spans: [Span] = []
  /// The role of every position.
  public private(set) var roles: [Role] = []
  /// For every position, the index of the piece or placeholder of the unexpanded prompt it came from.
  public private(set) var sources: [Int] = []

  /// A map of no positions.
  public init() {}

  /// The number of positions.
  public var count: Int { roles.count }

  /// Adds rows of a medium.
  ///
  /// - Parameters:
  ///   - grid: How the rows lie; nil for separators.
  ///   - rows: Which of the medium's rows they are.
  ///   - source: The placeholder of the first row.
  ///   - isExpanded: Whether each row has a placeholder of its own, so that sources go on by one.
  public mutating func appendMedium(
    role: Role, grid: Grid?, medium: Int, rows: Range<Int>, source: Int, isExpanded: Bool
  ) {
    require(grid.map { $0.rows * $0.columns == rows.count } ?? true, "\(rows.count) rows in a grid of another size")
    let positions = roles.count..<roles.count + rows.count
    spans.append(Span(role: role, positions: positions, medium: medium, grid: grid, rows: rows))
    roles.append(contentsOf: repeatElement(role, count: rows.count))
    sources.append(contentsOf: rows.indices.map { isExpanded ? source + $0 - rows.lowerBound : source })
  }

  /// Adds one position of text; neighbours of one role share a span.
  public mutating func appendText(role: Role, source: Int) {
    if let last = spans.last, last.role == role, last.medium == nil {
      spans[spans.count - 1] = Span(
        role: role, positions: last.positions.lowerBound..<roles.count + 1, medium: nil, grid: nil, rows: nil)
    } else {
      spans.append(Span(role: role, positions: roles.count..<roles.count + 1, medium: nil, grid: nil, rows: nil))
    }
    roles.append(role)
    sources.append(source)
  }

  /// How many positions have each role, in the order of `Role.allCases`, those without positions left out.
  public var counts: [(role: Role, count: Int)] {
    Role.allCases.compactMap { role in
      let count = roles.reduce(0) { $1 == role ? $0 + 1 : $0 }
      return count > 0 ? (role, count) : nil
    }
  }
}
