public import Foundation
import RunKit
import TensorCore

/// How media become the numbers that a packed data set holds.
public struct DataRecipe: Sendable, Equatable {
  /// Features of sound.
  public enum Sound: String, CaseIterable, Sendable {
    /// Log-mel energies, `[1024, 128]`: `KaldiFilterBank`.
    case filterBank = "fbank"
    /// Logarithms of magnitudes, `[257, frames]`: `LogSpectrogram`.
    case logSpectrogram = "log-stft"
  }

  /// How a picture becomes a square.
  public enum Fit: String, CaseIterable, Sendable {
    /// Each side is resized by itself; evaluation takes all of it.
    case squash
    /// The shorter side is resized and the middle is kept; evaluation takes the middle of that.
    case crop
  }

  /// Frames of a sample: the middle ones of as many equal segments; nil for the number of the layout.
  public var frames: Int?
  /// Rows and columns of stored pictures.
  public var side = 256
  /// Rows and columns of pictures as inputs; at most `side`.
  public var inputSide = 224
  /// How pictures become squares.
  public var fit = Fit.squash
  /// Features of sound; nil for those of the layout.
  public var sound: Sound?
  /// Frames of log-mel energies.
  public var soundFrames = 1024
  /// Seconds of a spectrogram.
  public var seconds = 3.0
  /// Classes of CMU-MOSEI: 2, 3 or 7.
  public var sentimentClasses = 2
  /// The share of every class in the training list that becomes the validation split where there is no list of one.
  public var validationShare = 0.1
  /// Draws the validation split.
  public var seed = 0
  /// Whether samples without one of the modalities are left out.
  public var skipsIncomplete = false

  /// The defaults.
  public init() {}

  /// The longest part of a recording that is read, in seconds; the mean is taken over it.
  static let readSeconds = 120.0
}

/// What a modality of a sample is made of.
enum SourcePart: Sendable {
  case sound(URL)
  /// A `.npy` file of features.
  case array(URL)
  /// One picture for each frame.
  case pictures([URL])
  /// Grey pictures of motion to the right and downwards for each frame.
  case flow(u: [URL], v: [URL])
  case video(URL)
  case text(String)
  /// Row `row` of `[samples, steps, size]`.
  case steps(StoredTensor, row: Int)
  case values([Float])

  /// The files, for the record of what was packed.
  var files: [URL] {
    switch self {
    case .sound(let url), .array(let url), .video(let url): [url]
    case .pictures(let urls): urls
    case .flow(let u, let v): u + v
    case .text, .steps, .values: []
    }
  }
}

/// A sample before it is packed.
struct SourceSample: Sendable {
  let id: String
  let label: Int
  /// One for each modality.
  let parts: [SourcePart]
}

/// A data set before it is packed.
public struct DataListing: Sendable {
  /// The word of the layout.
  public let layout: String
  /// The folder that was listed.
  public let folder: URL
  /// The names of the classes.
  public let classes: [String]
  /// The modalities as they will be stored.
  public let modalities: [PackedModality]
  /// What is wrong, in the order of the lists.
  public let problems: [DataProblem]
  /// Samples in the lists that lack a modality.
  public let incompleteCount: Int
  /// The samples of train, validation and test, ordered by id.
  let splits: [[SourceSample]]
  let recipe: DataRecipe
  let recipeNotes: JSONObject

  /// The number of samples of each split.
  public var counts: [Int] { splits.map(\.count) }

  /// Problems that stand in the way of packing: all, but those of samples that are left out where that is asked for.
  public var blockingProblems: [DataProblem] {
    recipe.skipsIncomplete ? problems.filter { !$0.isOfOneSample } : problems
  }
}

extension DataProblem {
  /// Whether leaving the sample out removes the problem.
  var isOfOneSample: Bool {
    switch kind {
    case .missingModality, .gitLFSPointer, .refusedFormat, .tooFewFrames, .unreadable, .notFinite,
      .wrongShape:
      sample != nil
    default: false
    }
  }
}
