public import RunKit

/// Why a decoder program did not do its work, through no fault of the file.
public enum DecoderError: DescribedError {
  case notInstalled(path: String, program: String)
  case killed(path: String, program: String, signal: Int)
  case tooSlow(path: String, program: String, seconds: Int)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case notInstalled = "decoder_not_installed"
    case killed = "decoder_killed"
    case tooSlow = "decoder_too_slow"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .notInstalled: .notInstalled
    case .killed: .killed
    case .tooSlow: .tooSlow
    }
  }

  /// The status a command ends with.
  public var exitStatus: ExitStatus { code == .notInstalled ? .unsupported : .inputOutput }

  /// The medium concerned.
  public var path: String? {
    switch self {
    case .notInstalled(let path, _), .killed(let path, _, _), .tooSlow(let path, _, _): path
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .notInstalled(let path, let program):
      "\(path): only PGM, PPM and WAV are read without \(program), and it is not on the search path"
    case .killed(let path, let program, let signal):
      "\(path): \(program) was ended by signal \(signal) before it was done"
    case .tooSlow(let path, let program, let seconds):
      "\(path): \(program) was not done after \(seconds) seconds and was ended"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .notInstalled: "install it: 'apt install ffmpeg'"
    case .killed: "run the command again; if it happens again, look for a lack of memory: 'dmesg | tail'"
    case .tooSlow: "cut or shrink the medium, or convert it once: 'ffmpeg -i FILE out.ppm' or 'out.wav'"
    }
  }
}
