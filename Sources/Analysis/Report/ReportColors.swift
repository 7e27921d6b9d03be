import TokenModel

/// The colours of a report: one a group, the same in every figure, and one scale for magnitudes.
///
/// Groups: after Okabe and Ito, "Color Universal Design", 2008, darkened for a light page and lightened for a
/// dark one, so that they differ in lightness as well as hue. Scale: 17 steps of falling (light page) or rising
/// (dark page) OKLab lightness.
package struct ReportColors {
  /// A colour on a light and on a dark page.
  struct Pair {
    let light: UInt32
    let dark: UInt32
  }

  private static let byRole: [Role: Pair] = [
    .image: Pair(light: 0x0B6DB0, dark: 0x56ADEB), .audio: Pair(light: 0xCF5A0E, dark: 0xFF8C50),
    .video: Pair(light: 0x00875F, dark: 0x34C79B), .question: Pair(light: 0xA9457E, dark: 0xE593C2),
    .instruction: Pair(light: 0xB98300, dark: 0xECBB4C), .response: Pair(light: 0x5A6FD0, dark: 0xA9B6FF),
    .system: Pair(light: 0x7C6A52, dark: 0xC2B08F), .bos: Pair(light: 0x66707A, dark: 0x98A3AE),
    .separator: Pair(light: 0x9AA1A8, dark: 0x6C757E),
  ]
  /// For groups of several roles, whose first role's colour is taken.
  private static let others = [
    Pair(light: 0x2E7F8C, dark: 0x6CC7D4), Pair(light: 0x8A5A2B, dark: 0xD9A06B),
    Pair(light: 0x6B3FA0, dark: 0xBE9BEB), Pair(light: 0x4D7C0F, dark: 0xA3D158),
  ]

  /// The steps of the scale from nothing to the greatest value.
  static let stepCount = 17
  private static let lightSteps: [UInt32] = [
    0xEEFAF8, 0xDAF0EE, 0xC6E6E6, 0xB1DCDF, 0x9DD2D9, 0x88C8D5, 0x75BDD0, 0x63B1CC, 0x53A5C7, 0x4799C2,
    0x3E8CBB,
    0x3A7FB3, 0x3973A8, 0x39669C, 0x395A8E, 0x394E7E, 0x37446D,
  ]
  private static let darkSteps: [UInt32] = [
    0x1C202B, 0x222A3C, 0x27354C, 0x2A415C, 0x2B4E6C, 0x2A5B7C, 0x27698B, 0x227798, 0x1D86A4, 0x1C95AE,
    0x24A4B7,
    0x34B2BE, 0x48C0C5, 0x60CECA, 0x79DAD0, 0x94E6D7, 0xAFF2DE,
  ]

  private let pairs: [Pair]

  /// Colours for the groups of a definition.
  package init(_ groups: [AttentionDefinition.Group]) {
    var taken: Set<Role> = []
    var spare = 0
    pairs = groups.map { group in
      if let role = group.roles.first, taken.insert(role).inserted, let pair = Self.byRole[role] {
        return pair
      }
      spare += 1
      return Self.others[(spare - 1) % Self.others.count]
    }
  }

  /// The CSS variables of a light page: `--g0…` groups, `--o0…` text on them, `--q0…` steps, `--t0…` text on them.
  var lightVariables: String { variables(\.light, Self.lightSteps) }
  /// The same of a dark page.
  var darkVariables: String { variables(\.dark, Self.darkSteps) }

  /// The classes that use them: `.g0…` for groups, `.q0…` for steps.
  var classes: String {
    let groups = pairs.indices.map { ".g\($0){--c:var(--g\($0));--on:var(--o\($0))}" }
    let steps = (0..<Self.stepCount).map { ".q\($0){background:var(--q\($0));color:var(--t\($0))}" }
    return (groups + steps).joined(separator: "\n")
  }

  /// The class of a value between 0 and `most`.
  static func step(_ value: Double?, of most: Double) -> String {
    guard let value, most > 0 else { return "none" }
    let position = (max(0, min(1, value / most)) * Double(stepCount - 1)).rounded()
    return "q\(Int(position))"
  }

  private func variables(_ side: KeyPath<Pair, UInt32>, _ steps: [UInt32]) -> String {
    let groups = pairs.enumerated().map { index, pair in
      "--g\(index):\(Self.hex(pair[keyPath: side]));--o\(index):\(Self.ink(on: pair[keyPath: side]));"
    }
    let scale = steps.enumerated().map { index, color in
      "--q\(index):\(Self.hex(color));--t\(index):\(Self.ink(on: color));"
    }
    return (groups + scale).joined()
  }

  private static func hex(_ color: UInt32) -> String {
    let digits = String(color, radix: 16)
    return "#" + String(repeating: "0", count: 6 - digits.count) + digits
  }

  /// Near black or white, whichever stands out more.
  private static func ink(on color: UInt32) -> String {
    let shades = [16, 8, 0].map { shift -> Double in
      let part = Double(color >> UInt32(shift) & 0xFF) / 255
      // sRGB to linear light by its power part, close enough to choose between two inks.
      return part * part * part.squareRoot().squareRoot()
    }
    let luminance = 0.2126 * shades[0] + 0.7152 * shades[1] + 0.0722 * shades[2]
    return luminance > 0.2 ? "#101418" : "#ffffff"
  }
}
