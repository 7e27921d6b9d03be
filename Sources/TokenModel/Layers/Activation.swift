public import TensorCore

/// The activation of a feed-forward layer, by its name in configurations.
public enum Activation: String, CaseIterable, Sendable {
  /// x · σ(x).
  case silu
  /// x · Φ(x).
  case gelu
  /// GELU by tanh.
  case geluTanh = "gelu_pytorch_tanh"
  /// x · σ(1.702 x), as in CLIP.
  case quickGELU = "quick_gelu"

  /// Reads a setting.
  ///
  /// - Throws: `ConfigurationError.unsupportedValue` for a function that is not known.
  public init(_ reader: ConfigurationReader, key: String, default fallback: Activation)
    throws(ConfigurationError)
  {
    let name = try reader.string(key, default: fallback.rawValue)
    switch name {
    case "swish": self = .silu
    case "gelu_new": self = .geluTanh
    default:
      guard let known = Activation(rawValue: name) else {
        throw reader.unsupported(
          key, found: "\"\(name)\"", supported: Self.allCases.map(\.rawValue).joined(separator: ", "))
      }
      self = known
    }
  }

  /// The function of every element.
  public func callAsFunction(_ x: Tensor) -> Tensor {
    switch self {
    case .silu: x.silu()
    case .gelu: x.gelu()
    case .geluTanh: x.geluTanh()
    case .quickGELU: (1 / 1.702) * (1.702 * x).silu()
    }
  }
}
