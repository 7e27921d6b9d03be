/// How one modality of a packed data set is stored, and what an encoder gets of it.
public struct PackedModality: Sendable, Equatable {
  /// What a sample is.
  public enum Kind: String, CaseIterable, Sendable {
    /// `frames` square pictures of 8 bits, `[frames, side, side, channels]`: 1 channel is grey, 2 are optical flow, 3 are
    /// red, green and blue.
    case pictures
    /// Float32 of a fixed shape: a vector, or a spectrogram.
    case features
    /// Float32 vectors of one size, any number of them: `[steps, size]`.
    case sequence
    /// Text in UTF-8.
    case text
  }

  /// The name in experiments.
  public let name: String
  /// What a sample is.
  public let kind: Kind
  /// The shape of a sample; of a step for sequences, empty for text.
  public let shape: [Int]
  /// What is taken off each channel of a picture as 0...1.
  public var mean: [Double] = []
  /// What each channel is divided by then.
  public var deviation: [Double] = []
  /// Rows and columns of the pictures that an encoder gets; 0 for other kinds.
  public var inputSide = 0
  /// Whether evaluation takes the middle of a picture, not all of it made smaller.
  public var cropsCentre = false
  /// What training changes at random; nil for nothing.
  public var augmentation: PictureAugmentation?

  /// A modality without pictures.
  public init(name: String, kind: Kind, shape: [Int]) {
    (self.name, self.kind, self.shape) = (name, kind, shape)
  }

  /// Pictures.
  ///
  /// - Parameters:
  ///   - side: Rows and columns as stored.
  ///   - inputSide: Rows and columns of an input.
  public init(name: String, frames: Int, side: Int, channels: Int, inputSide: Int) {
    self.init(name: name, kind: .pictures, shape: [frames, side, side, channels])
    self.inputSide = inputSide
    // Those of ImageNet, by which pretrained networks are fed; optical flow is centred at no motion.
    mean = channels == 3 ? [0.485, 0.456, 0.406] : Array(repeating: 0.5, count: channels)
    deviation = channels == 3 ? [0.229, 0.224, 0.225] : Array(repeating: 0.25, count: channels)
    augmentation = PictureAugmentation()
  }

  /// Whether every sample has the same number of elements.
  public var isFixed: Bool { kind == .pictures || kind == .features }

  /// The shape of one sample's input.
  var inputShape: [Int] {
    switch kind {
    case .pictures:
      (shape[0] == 1 ? [] : [shape[0]]) + [inputSide, inputSide, shape[3]]
    case .features: shape.count == 2 ? shape + [1] : shape
    case .sequence, .text: shape
    }
  }

  /// What kind it is and how large, for people.
  public var summary: String {
    let sizes = shape.map(String.init).joined(separator: " x ")
    return switch kind {
    case .pictures: "pictures \(sizes), input \(inputSide) x \(inputSide)"
    case .features: "features \(sizes)"
    case .sequence: "sequence of vectors of \(sizes)"
    case .text: "text"
    }
  }
}
