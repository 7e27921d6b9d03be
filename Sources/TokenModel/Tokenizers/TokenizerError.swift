public import RunKit

/// Why a tokenizer cannot be loaded or used.
public enum TokenizerError: DescribedError {
  case malformedModel(path: String, offset: Int, expected: String)
  case unusableModel(path: String, reason: String)
  case conflictingToken(path: String, token: String, id: Int, reason: String)
  case unknownToken(path: String, key: String, token: String)
  case idWithoutPiece(id: Int, vocabulary: Int)
  case textTooLong(count: Int, limit: Int)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case malformedModel = "tokenizer_malformed_model"
    case unusableModel = "tokenizer_unusable_model"
    case conflictingToken = "tokenizer_conflicting_token"
    case unknownToken = "tokenizer_unknown_token"
    case idWithoutPiece = "tokenizer_id_without_piece"
    case textTooLong = "tokenizer_text_too_long"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .malformedModel: .malformedModel
    case .unusableModel: .unusableModel
    case .conflictingToken: .conflictingToken
    case .unknownToken: .unknownToken
    case .idWithoutPiece: .idWithoutPiece
    case .textTooLong: .textTooLong
    }
  }

  /// The file concerned.
  public var path: String? {
    switch self {
    case .malformedModel(let path, _, _), .unusableModel(let path, _), .conflictingToken(let path, _, _, _),
      .unknownToken(let path, _, _):
      path
    case .idWithoutPiece, .textTooLong: nil
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .malformedModel(let path, let offset, let expected):
      "\(path): not a SentencePiece model at byte \(offset): expected \(expected)"
    case .unusableModel(let path, let reason):
      "\(path): this SentencePiece model cannot be used: \(reason.shown())"
    case .conflictingToken(let path, let token, let id, let reason):
      "\(path): the added token \(token.inQuotes) has the id \(id), but \(reason)"
    case .unknownToken(let path, let key, let token):
      "\(path): \(key) is \(token.inQuotes), which is not in the vocabulary"
    case .idWithoutPiece(let id, let vocabulary):
      "token id \(id) has no piece; the vocabulary has ids from 0 to \(vocabulary - 1)"
    case .textTooLong(let count, let limit): "the text has \(count) bytes, expected at most \(limit)"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .malformedModel:
      "fetch tokenizer.model again; a download of a few lines of text is a pointer of Git LFS, not the file"
    case .unusableModel: "export tokenizer.model again from the checkpoint's source"
    case .conflictingToken: "make added_tokens.json and added_tokens_decoder agree with tokenizer.model"
    case .unknownToken: "add the token to added_tokens_decoder with its id, or set the key to null"
    case .idWithoutPiece: "check that the tokenizer belongs to the model"
    case .textTooLong: "split the text"
    }
  }
}
