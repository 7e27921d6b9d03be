public import Foundation

/// How the files of a data set lie, as its publishers or the benchmark's authors have them.
public enum DataLayout: String, CaseIterable, Sendable {
  case cremad
  case kineticsSounds = "kinetics-sounds"
  case vggsound
  case balancedav
  case ucf101
  case food101
  case mosei

  /// What it is, in one line.
  public var summary: String {
    switch self {
    case .cremad: "CREMA-D: 6 emotions, sound and faces"
    case .kineticsSounds: "KineticsSounds: 31 actions, sound and frames"
    case .vggsound: "VGGSound: 309 events, sound and frames"
    case .balancedav: "BalancedAV: 30 classes, sound and frames"
    case .ucf101: "UCF-101: 101 actions, frames and optical flow"
    case .food101: "UPMC Food-101: 101 dishes, titles and pictures"
    case .mosei: "CMU-MOSEI: sentiment, sequences of text, audio and vision"
    }
  }

  /// Whether samples have recordings.
  public var hasSound: Bool { ![.ucf101, .food101, .mosei].contains(self) }
  /// Whether samples have pictures.
  public var hasPictures: Bool { self != .mosei }
  /// Whether samples have more pictures than one.
  public var hasSeveralFrames: Bool { hasPictures && self != .food101 }

  /// The recipe with what this layout has of its own.
  public func recipe(_ recipe: DataRecipe) -> DataRecipe {
    var recipe = recipe
    recipe.sound = recipe.sound ?? (self == .cremad ? .logSpectrogram : .filterBank)
    recipe.frames = recipe.frames ?? (self == .cremad ? 2 : self == .food101 ? 1 : 3)
    return recipe
  }

  /// Lists the samples of a folder with everything that is wrong.
  ///
  /// - Parameter readsFeatures: Whether `.npy` files are read to their end, to find NaN.
  public func listing(of folder: URL, _ recipe: DataRecipe, readsFeatures: Bool) -> DataListing {
    let recipe = self.recipe(recipe)
    let lister = SourceLister(
      folder.standardizedFileURL, recipe, frameCount: recipe.frames ?? 1, readsFeatures: readsFeatures)
    return switch self {
    case .cremad: CREMADLayout.listing(lister)
    case .kineticsSounds: KineticsSoundsLayout.listing(lister)
    case .vggsound: VGGSoundLayout.listing(lister)
    case .balancedav: BalancedAVLayout.listing(lister)
    case .ucf101: UCF101Layout.listing(lister)
    case .food101: Food101Layout.listing(lister)
    case .mosei: MOSEILayout.listing(lister)
    }
  }
}
