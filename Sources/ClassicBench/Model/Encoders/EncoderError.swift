import RunKit

/// Why an encoder cannot be used for a modality.
enum EncoderError: DescribedError {
  /// It does not take such inputs.
  case unfit(modality: String, encoder: String, input: String, reason: String)
  /// Its files are not those of such an encoder.
  case wrongFolder(path: String, modality: String, encoder: String, reason: String)

  enum Code: String, CaseIterable, Sendable {
    case unfit = "encoder_unfit"
    case wrongFolder = "encoder_wrong_folder"
  }

  var code: Code {
    switch self {
    case .unfit: .unfit
    case .wrongFolder: .wrongFolder
    }
  }

  var exitStatus: ExitStatus { .usage }

  var path: String? {
    switch self {
    case .unfit: nil
    case .wrongFolder(let path, _, _, _): path
    }
  }

  var errorDescription: String? {
    switch self {
    case .unfit(let modality, let encoder, let input, let reason):
      "the encoder \(encoder.inQuotes) does not take the modality \(modality.inQuotes), which is \(input): \(reason)"
    case .wrongFolder(let path, let modality, let encoder, let reason):
      "\(path): cannot be the encoder \(encoder.inQuotes) of the modality \(modality.inQuotes): \(reason)"
    }
  }

  var recoverySuggestion: String? {
    switch self {
    case .unfit: "name another encoder in 'encoders'; Documentation/Encoders.md has a table"
    case .wrongFolder: "name another file or folder in 'encoders'"
    }
  }
}
