public import TokenModel

/// What a method of the classic benchmark says about itself: enough to list it and to refuse what it cannot do.
public protocol MethodDescription: Sendable {
  /// The name on the command line, such as `ogm-ge`.
  static var id: String { get }
  /// The name in print.
  static var name: String { get }
  /// The part of training it changes.
  static var stage: MethodStage { get }
  /// Where it comes from: authors, venue, year, arXiv id.
  static var source: String { get }
  /// Whether it is defined for these modalities.
  static func supports(_ modalities: [Modality]) -> Bool
}

/// The part of training a method changes; methods of different stages can be combined.
public enum MethodStage: String, Sendable, CaseIterable {
  /// Which samples are seen, and how often.
  case data
  /// How features are computed and fused.
  case forward
  /// What is minimised.
  case objective
  /// How gradients become steps.
  case optimization
}
