public import RunKit

/// Why a tokenizer cannot be loaded or used.
public enum TokenizerError: DescribedError {
  case malformedModel(path: String, offset: Int, expected: String)
  case unusableModel(path: String, reason: String)
  case conflictingToken(path: String, token: String, id: Int, reason: String)
  case unknownToken(path: String, key: String, token: String)
  case idWithoutPiece(id: Int, vocabulary: Int)
  case textTooLong(count: Int, limit: Int)
  case unsupported(path: String, part: String, found: String, supported: [String])
  case unsupportedPattern(path: String, pattern: String, supported: [String])
  case duplicateID(path: String, id: Int, first: String, second: String)
  case unknownMergePart(path: String, rule: Int, piece: String)
  case malformedMerge(path: String, rule: Int, found: String)
  case tooMany(path: String, what: String, found: Int, limit: Int)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case malformedModel = "tokenizer_malformed_model"
    case unusableModel = "tokenizer_unusable_model"
    case conflictingToken = "tokenizer_conflicting_token"
    case unknownToken = "tokenizer_unknown_token"
    case idWithoutPiece = "tokenizer_id_without_piece"
    case textTooLong = "tokenizer_text_too_long"
    case unsupported = "tokenizer_unsupported"
    case unsupportedPattern = "tokenizer_unsupported_pattern"
    case duplicateID = "tokenizer_duplicate_id"
    case unknownMergePart = "tokenizer_unknown_merge_part"
    case malformedMerge = "tokenizer_malformed_merge"
    case tooMany = "tokenizer_too_many"
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
    case .unsupported: .unsupported
    case .unsupportedPattern: .unsupportedPattern
    case .duplicateID: .duplicateID
    case .unknownMergePart: .unknownMergePart
    case .malformedMerge: .malformedMerge
    case .tooMany: .tooMany
    }
  }

  /// The exit status a command ends with.
  public var exitStatus: ExitStatus {
    switch self {
    case .unsupported, .unsupportedPattern: .unsupported
    default: .data
    }
  }

  /// The file concerned.
  public var path: String? {
    switch self {
    case .malformedModel(let path, _, _), .unusableModel(let path, _), .conflictingToken(let path, _, _, _),
      .unknownToken(let path, _, _), .unsupported(let path, _, _, _), .unsupportedPattern(let path, _, _),
      .duplicateID(let path, _, _, _), .unknownMergePart(let path, _, _), .malformedMerge(let path, _, _),
      .tooMany(let path, _, _, _):
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
    case .unsupported(let path, let part, let found, let supported):
      "\(path): \(part.shown()) is \(found.shown()), which is not supported (supported: \(supported.joined(separator: ", ")))"
    case .unsupportedPattern(let path, let pattern, let supported):
      "\(path): the text is to be cut by a pattern that is not supported: \(pattern.shown(limit: 240)); "
        + "supported: \(supported.map { $0.shown(limit: 240) }.joined(separator: "  or  "))"
    case .duplicateID(let path, let id, let first, let second):
      "\(path): the id \(id) belongs to \(first.inQuotes) and to \(second.inQuotes)"
    case .unknownMergePart(let path, let rule, let piece):
      "\(path): merge \(rule) speaks of \(piece.inQuotes), which is not in the vocabulary"
    case .malformedMerge(let path, let rule, let found):
      "\(path): merge \(rule) is \(found.inQuotes), expected two pieces that are not empty"
    case .tooMany(let path, let what, let found, let limit):
      "\(path): found \(found) \(what), expected at most \(limit)"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .malformedModel:
      "fetch tokenizer.model again; a download of a few lines of text is a pointer of Git LFS, not the file"
    case .unusableModel: "export tokenizer.model again from the checkpoint's source"
    case .conflictingToken:
      "make added_tokens.json and added_tokens_decoder agree with the tokenizer's own file"
    case .unknownToken: "add the token to added_tokens_decoder with its id, or set the key to null"
    case .idWithoutPiece: "check that the tokenizer belongs to the model"
    case .textTooLong: "split the text"
    case .unsupported, .unsupportedPattern:
      "a text cut in another way gives other numbers, so nothing is guessed; give ids with 'mmprobe trace --inputs'"
    case .duplicateID, .unknownMergePart, .malformedMerge, .tooMany:
      "fetch the tokenizer's files again from the checkpoint's source"
    }
  }
}
