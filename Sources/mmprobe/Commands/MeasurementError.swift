import Analysis
import RunKit

/// Why a measuring command has nothing to show.
enum MeasurementError: DescribedError {
  /// Every sample was skipped; `first` names the first with its reason.
  case nothingMeasured(count: Int, first: String)

  /// The cases, by their word in machine-readable output.
  enum Code: String, CaseIterable, Sendable {
    case nothingMeasured = "probe_nothing_measured"
  }

  /// Which case this is.
  var code: Code { .nothingMeasured }

  /// What, where, found and expected.
  var errorDescription: String? {
    switch self {
    case .nothingMeasured(let count, let first):
      "no sample of \(Support.grouped(count)) could be measured; the first: \(first)"
    }
  }

  /// What to do.
  var recoverySuggestion: String? {
    "correct what the reason names and measure again; --overwrite replaces a run folder that was made"
  }

  /// Refuses samples of which none was measured: a table of nothing looks like a result.
  static func check(_ samples: AttentionSamples) throws(MeasurementError) {
    guard samples.records.isEmpty, let first = samples.firstSkipped else { return }
    throw .nothingMeasured(count: samples.samples.count, first: first)
  }
}
