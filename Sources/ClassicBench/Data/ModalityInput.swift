import TensorCore
import TokenModel

/// What a data set has of one modality, for the choice of an encoder.
struct ModalityInput {
  /// What a sample is.
  enum Form: Equatable {
    /// Numbers of one shape: a vector, `[rows, columns, channels]` or `[frames, rows, columns, channels]`.
    ///
    /// `stepsAreColumns` says that time runs along the columns of a spectrogram.
    case numbers([Int], stepsAreColumns: Bool)
    /// Any number of vectors.
    case sequence(size: Int, longest: Int)
    /// Text; `words` are those that the data set lists, by their bytes.
    case text(words: [[UInt8]: Int])
  }

  /// The data set, for messages.
  let path: String
  /// The modality.
  let name: String
  let form: Form
  /// The same for people.
  let summary: String

  init(path: String, name: String, form: Form, summary: String? = nil) {
    (self.path, self.name, self.form) = (path, name, form)
    switch form {
    case .numbers(let shape, _):
      self.summary = summary ?? "numbers of shape \(shape.map(String.init).joined(separator: " x "))"
    case .sequence(let size, _): self.summary = summary ?? "a sequence of vectors of \(size)"
    case .text: self.summary = summary ?? "text"
    }
  }
}

/// What a text becomes before an encoder sees it.
enum TextForm: Sendable {
  /// How often each word of the data set's list stands in it.
  case counts
  /// 1 + the ids of its first tokens, then zeros.
  case tokens(TextTokens)
}

/// Cuts texts into tokens.
struct TextTokens: Sendable {
  /// The most tokens of a text.
  let length: Int
  /// Ids are below it.
  let vocabulary: Int
  private let ids: @Sendable (String) throws -> [Int]

  /// The words of a list; others count as `<unk>`.
  init(words: [[UInt8]: Int], length: Int) {
    self.length = length
    vocabulary = words.count
    let unknown = words[[UInt8]("<unk>".utf8)] ?? 0
    ids = { text in text.utf8.split(separator: UInt8(ascii: " ")).map { words[Array($0)] ?? unknown } }
  }

  /// Pieces with the tokens that begin and end a text; a longer one keeps the last of them.
  init(_ tokenizer: WordPieceTokenizer, length: Int) {
    self.length = length
    vocabulary = tokenizer.vocabularySize
    ids = { text in
      let all = try tokenizer.encode(text, addingSpecialTokens: true)
      return all.count > length ? Array(all.prefix(length - 1)) + all.suffix(1) : all
    }
  }

  /// The inputs of texts, `[texts, length]`.
  ///
  /// - Throws: `TokenizerError`.
  func inputs(_ texts: [String]) throws -> Tensor {
    var values: [Float] = []
    values.reserveCapacity(texts.count * length)
    for text in texts {
      let kept = try ids(text).prefix(length)
      values += kept.map { Float($0 + 1) }
      values += Array(repeating: 0, count: length - kept.count)
    }
    return Tensor(values, shape: [texts.count, length])
  }
}
