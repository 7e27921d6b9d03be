import RunKit
public import TensorCore
public import TokenModel

/// What a checkpoint is, in numbers.
public struct Inspection: Sendable {
  /// Tensors of one stored type.
  public struct StoredType: Sendable, Equatable {
    /// The type of the elements.
    public let type: ElementType
    /// How many tensors have it.
    public let tensorCount: Int
    /// Their elements.
    public let elementCount: Int
    /// Their bytes in the files, which are mapped, not read.
    public let byteCount: Int
  }

  /// A medium the model takes.
  public struct MediumInput: Sendable, Equatable {
    /// What kind of input.
    public let modality: Modality
    /// Sizes of the axes of one medium; of a usual one where they vary.
    public let shape: [Int]
    /// The grid of rows that one medium becomes; the largest of several.
    public let grid: SpanMap.Grid
    /// The id that stands for it in a prompt.
    public let placeholderID: Int
    /// Rows of the decoder that one medium becomes.
    public let rowCount: Int
    /// Whether it is taken as stored bytes; otherwise as normalised numbers.
    public let isBytes: Bool
  }

  /// Something that can be done with the checkpoint.
  public struct Analysis: Sendable, Equatable {
    /// The command.
    public let command: String
    /// Why not; nil if it can be done.
    public let obstacle: String?
  }

  /// Sizes of the decoder.
  public let configuration: LLaMAConfiguration
  /// Elements of all tensors.
  public let parameterCount: Int
  /// Stored types, the one with most elements first.
  public let types: [StoredType]
  /// The media the model takes.
  public let media: [MediumInput]
  /// What can be done with it.
  public let analyses: [Analysis]

  /// Looks at a checkpoint; reads headers only.
  public init(_ checkpoint: Checkpoint) {
    let model = checkpoint.model
    configuration = model.decoder.configuration
    let tensors = checkpoint.weights.tensors
    parameterCount = tensors.reduce(0) { $0 + $1.elementCount }
    types = ElementType.allCases.compactMap { type in
      let members = tensors.filter { $0.elementType == type }
      if members.isEmpty { return nil }
      return StoredType(
        type: type, tensorCount: members.count, elementCount: members.reduce(0) { $0 + $1.elementCount },
        byteCount: members.reduce(0) { $0 + $1.storage.count })
    }.sorted { $0.elementCount > $1.elementCount }
    media = model.modalities.compactMap { modality in
      guard let medium = model.exampleMedium(of: modality), let id = model.placeholderID(of: modality) else {
        return nil
      }
      let grids = model.rowParts(of: medium).compactMap { part -> SpanMap.Grid? in
        if case .grid(let grid) = part { grid } else { nil }
      }
      let largest = grids.max { $0.rows * $0.columns < $1.rows * $1.columns }
      return MediumInput(
        modality: modality, shape: medium.shape, grid: largest ?? SpanMap.Grid(rows: 0, columns: 0),
        placeholderID: id, rowCount: model.rowCount(of: medium), isBytes: !medium.bytes.isEmpty)
    }
    let noTokenizer = checkpoint.tokenizer == nil ? "the folder has no tokenizer" : nil
    analyses = [
      Analysis(command: "attention", obstacle: noTokenizer),
      Analysis(command: "generate", obstacle: noTokenizer),
      Analysis(command: "eval", obstacle: noTokenizer), Analysis(command: "tokens", obstacle: noTokenizer),
      Analysis(command: "trace", obstacle: nil), Analysis(command: "verify", obstacle: nil),
    ]
  }

  /// Bytes of all weights in their files.
  public var byteCount: Int { types.reduce(0) { $0 + $1.byteCount } }
}
