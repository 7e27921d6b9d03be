public import TensorCore

/// A conversation as a model sees it: ids, media in place of their placeholders, and what every position is.
public struct Prompt: Sendable, Equatable {
  /// The most positions of a prompt, far above the context of any model that runs here.
  public static let positionLimit = 1 << 18

  /// Ids as given: one placeholder for each medium, or one for each of its rows.
  public let ids: [Int]
  /// The text of each id as given.
  public let pieces: [String]
  /// The media in the order of their placeholders.
  public let media: [Medium]
  /// What every position of the expanded sequence is.
  public let spans: SpanMap
  /// The rotary position of every expanded position.
  public let positions: RowPositions
  /// How many of the expanded positions are the prompt; the rest is the given answer.
  public let promptCount: Int

  /// - Parameters:
  ///   - spans: Built from exactly these ids and media.
  ///   - positions: One for each position of `spans`; 0, 1, … unless given.
  ///   - promptCount: At most `spans.count`.
  public init(
    ids: [Int], pieces: [String], media: [Medium], spans: SpanMap, positions: RowPositions? = nil,
    promptCount: Int
  ) {
    (self.ids, self.pieces, self.media, self.spans) = (ids, pieces, media, spans)
    self.positions = positions ?? .counting(spans.count)
    self.promptCount = promptCount
    require(self.positions.count == spans.count, "\(self.positions.count) positions of \(spans.count)")
  }

  /// The number of expanded positions.
  public var count: Int { spans.count }
  /// The expanded positions of the given answer.
  public var answerPositions: Range<Int> { promptCount..<count }
  /// The text of an expanded position: its piece, or the placeholder of its medium.
  public func piece(at position: Int) -> String { pieces[spans.sources[position]] }
}
