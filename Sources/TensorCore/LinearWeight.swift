/// Where sequences begin and end among the rows of a ragged batch.
///
/// Kernels that could round a row differently with other rows beside it (matrix products) never let a tile cross a
/// boundary, so a row has the same bits alone and in any batch.
public struct RowSegments: Sendable, Equatable {
  /// `count + 1` row numbers from 0 to the number of rows.
  public let offsets: [Int]

  /// Segments of the given lengths, one after another.
  public init(lengths: [Int]) {
    require(lengths.allSatisfy { $0 >= 0 }, "a negative length in \(lengths)")
    var offsets = [0]
    for length in lengths { offsets.append(offsets[offsets.count - 1] + length) }
    self.offsets = offsets
  }

  /// All rows as one segment.
  public static func single(_ rows: Int) -> RowSegments { RowSegments(lengths: [rows]) }

  /// The number of segments.
  public var count: Int { offsets.count - 1 }
  /// The number of rows.
  public var rowCount: Int { offsets[offsets.count - 1] }
  /// The rows of one segment.
  public subscript(index: Int) -> Range<Int> { offsets[index]..<offsets[index + 1] }
}

/// The weight of a linear map, `[outputSize, inputSize]`, in float32 or as a checkpoint stores it.
///
/// A mapped weight stays on disk in its own type; products convert a panel of rows at a time, so a 16-bit model
/// needs no 32-bit copy.
public struct LinearWeight: Sendable {
  enum Storage: Sendable {
    case dense(Tensor)
    case stored(StoredTensor)
    case quantised(QuantisedMatrix)
  }

  /// Rows of the matrix.
  public let outputSize: Int
  /// Columns of the matrix.
  public let inputSize: Int
  let storage: Storage

  /// A float32 matrix in memory.
  public init(_ tensor: Tensor) {
    require(tensor.rank == 2, "a weight of shape \(tensor.shape)")
    (outputSize, inputSize) = (tensor.shape[0], tensor.shape[1])
    storage = .dense(tensor)
  }

  /// A matrix as a file holds it: f32, f16 or bf16.
  ///
  /// - Throws: `StoredTensorError.wrongElementType` for another type, `.impossibleShape` when it is not a matrix.
  public init(_ stored: StoredTensor) throws(StoredTensorError) {
    guard stored.shape.count == 2 else {
      throw .impossibleShape(tensor: stored.name, shape: stored.shape)
    }
    guard [.f32, .f16, .bf16].contains(stored.elementType) else {
      throw .wrongElementType(tensor: stored.name, found: stored.elementType, wanted: "f32, f16 or bf16")
    }
    (outputSize, inputSize) = (stored.shape[0], stored.shape[1])
    storage = .stored(stored)
  }

  /// A matrix of few bits a number.
  public init(_ matrix: QuantisedMatrix) {
    (outputSize, inputSize) = (matrix.rows, matrix.columns)
    storage = .quantised(matrix)
  }

  /// The tensor of the file, where the weight is one as it stands.
  public var storedTensor: StoredTensor? { if case .stored(let stored) = storage { stored } else { nil } }

  /// Whether the weight lives in a mapped file.
  public var isMapped: Bool { if case .dense = storage { false } else { true } }

  /// Bytes of the matrix as it is stored.
  public var storedByteCount: Int {
    switch storage {
    case .dense(let tensor): tensor.count * MemoryLayout<Float>.stride
    case .stored(let stored): stored.storage.count
    case .quantised(let matrix): matrix.codes.storage.count + matrix.scales.storage.count
    }
  }

  /// x Wᵀ (+ bias): `[rows, inputSize]` to `[rows, outputSize]`.
  ///
  /// - Parameters:
  ///   - segments: The sequences of the batch, each of which gets the bits it would get alone; nil for one product of all
  ///     rows, which is quicker and whose last bits depend on how many there are.
  ///   - bias: `[outputSize]`, added to every row.
  public func forward(_ x: Tensor, segments: RowSegments? = nil, bias: Tensor? = nil) -> Tensor {
    require(
      x.rank == 2 && x.columns == inputSize, "\(x.shape) does not enter a \(outputSize) x \(inputSize) weight"
    )
    require(
      (segments?.rowCount ?? x.rows) == x.rows, "segments of \(segments?.rowCount ?? 0) rows for \(x.rows)")
    require(bias.map { $0.shape == [outputSize] } ?? true, "a bias of another size than \(outputSize)")
    let weight = detached
    let (input, matrix) = (x.detached, dense)
    let output =
      if let segments {
        Kernels.linear(input, weight, segments, bias: bias?.detached)
      } else {
        Kernels.joinedLinear(input, weight, bias: bias?.detached)
      }
    // Whether they are there, not they themselves: a tracked tensor in the closure would keep the tape alive.
    let (isDense, hasBias) = (matrix != nil, bias != nil)
    return output.recorded(from: [x] + [matrix, bias].compactMap { $0 }) { gradient, needs in
      var gradients = [needs[0] ? weight.backward(gradient) : nil]
      if isDense {
        gradients.append(needs[1] ? gradient.matmul(input, transposingSelf: true) : nil)
      }
      if hasBias { gradients.append(needs[needs.count - 1] ? Kernels.columnSums(gradient) : nil) }
      return gradients
    }
  }

  /// y W: the gradient of the input from that of the output, `[rows, outputSize]` to `[rows, inputSize]`.
  func backward(_ gradient: Tensor) -> Tensor {
    Kernels.linearInputGradient(gradient, self)
  }

  /// The matrix, if it is in memory.
  private var dense: Tensor? { if case .dense(let tensor) = storage { tensor } else { nil } }

  /// Whether a tape follows the matrix.
  public var isTracked: Bool { dense?.isTracked ?? false }

  /// The same weight, followed by no tape.
  private var detached: LinearWeight { dense.map { LinearWeight($0.detached) } ?? self }

  /// The rows of the matrix at `ids`, in float32: an embedding look-up, `[ids, inputSize]`.
  public func rows(_ ids: [Int]) -> Tensor {
    require(ids.allSatisfy { $0 >= 0 && $0 < outputSize }, "a row outside 0..<\(outputSize)")
    let rows = Kernels.rows(ids, of: self)
    guard let dense else { return rows }
    let shape = dense.shape
    return rows.recorded(from: [dense]) { gradient, _ in
      [Tensor(zeros: shape).addingRows(gradient, at: ids)]
    }
  }

  /// Rows `range` of the matrix, in float32.
  public func panel(_ range: Range<Int>) -> Tensor { rows(Array(range)) }

  /// Tells the system that the pages of a mapped weight may be dropped; they are read again when needed.
  public func releasePages() {
    switch storage {
    case .dense: break
    case .stored(let stored): stored.storage.releasePages()
    case .quantised(let matrix): matrix.releasePages()
    }
  }
}
