/// The families mmprobe knows: the literal list that `model_type` is looked up in.
public enum ModelFamilies {
  /// One entry of the list.
  public struct Family: Sendable {
    /// `model_type` of the configuration.
    public let modelType: String
    /// One line about it.
    public let summary: String
    let load: @Sendable (ConfigurationReader, WeightSource) throws -> any LanguageModel
  }

  /// Every family.
  public static let all: [Family] = [
    Family(modelType: AVTLlamaModel.modelType, summary: AVTLlamaModel.summary) {
      try AVTLlamaModel($0, weights: $1)
    },
    Family(modelType: ChameleonModel.modelType, summary: ChameleonModel.summary) {
      try ChameleonModel($0, weights: $1)
    },
    Family(modelType: LLaMAModel.modelType, summary: LLaMAModel.summary) { try LLaMAModel($0, weights: $1) },
    Family(modelType: LLaVAModel.modelType, summary: LLaVAModel.summary) { try LLaVAModel($0, weights: $1) },
    Family(modelType: LLaVANextModel.modelType, summary: LLaVANextModel.summary) {
      try LLaVANextModel($0, weights: $1)
    },
    Family(modelType: Qwen2Model.modelType, summary: Qwen2Model.summary) { try Qwen2Model($0, weights: $1) },
  ]

  /// The family of a configuration.
  ///
  /// - Throws: `ConfigurationError.unsupportedModelType` with the list, `.missingKey`.
  public static func family(of reader: ConfigurationReader) throws(ConfigurationError) -> Family {
    let modelType = try reader.string("model_type")
    guard let family = all.first(where: { $0.modelType == modelType }) else {
      throw .unsupportedModelType(path: reader.path, found: modelType, supported: all.map(\.modelType))
    }
    return family
  }
}
