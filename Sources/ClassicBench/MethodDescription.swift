public import TokenModel

/// What a method of the classic benchmark says about itself: enough to list it and to refuse what it cannot do.
public protocol MethodDescription {
  /// The name on the command line, such as `ogm-ge`.
  static var id: String { get }
  /// The name in print.
  static var name: String { get }
  /// The part of training it changes.
  static var stage: MethodStage { get }
  /// Where it comes from: authors, venue, year, arXiv id.
  static var source: String { get }
  /// Whether the paper's own formula was not recovered, so that the method is a documented reconstruction.
  static var isReconstruction: Bool { get }
  /// Why the method is not defined for these modalities; nil if it is.
  static func refusal(of modalities: [Modality]) -> String?
}

extension MethodDescription {
  /// Methods follow their papers unless they say otherwise.
  public static var isReconstruction: Bool { false }

  /// Every method compares modalities, so it needs two.
  public static func refusal(of modalities: [Modality]) -> String? {
    modalities.count >= 2
      ? nil : "\(name) compares modalities: it needs at least two, the experiment names \(modalities.count)"
  }
}

/// The part of training a method changes; methods of different stages can be combined.
public enum MethodStage: String, Sendable, CaseIterable {
  /// A control without any change.
  case baseline
  /// Which samples are seen, and how often.
  case data
  /// How features are computed and fused.
  case forward
  /// What is minimised.
  case objective
  /// How gradients become steps.
  case optimization
  /// Parts of several of these.
  case composed
}
