public import RunKit

/// What a run of `attention` was asked to do: everything in its result that is not measured.
///
/// It holds nothing that changes from machine to machine or from try to try (times, threads, arguments), so
/// results of the same context and records are the same bytes.
public struct AttentionContext: Equatable, Sendable {
  /// The program that measured.
  public struct Tool: Equatable, Sendable {
    /// Its version.
    public var version: String
    /// The commit it was built from, if known.
    public var commit: String?

    /// The program that measured.
    public init(version: String, commit: String? = nil) {
      self.version = version
      self.commit = commit
    }
  }

  /// A file and its SHA-256.
  public struct HashedFile: Equatable, Sendable {
    /// Its name inside its folder.
    public var name: String
    /// Hexadecimal.
    public var sha256: String

    /// A file and its SHA-256.
    public init(name: String, sha256: String) {
      self.name = name
      self.sha256 = sha256
    }
  }

  /// An adapter laid over the model.
  public struct Adapter: Equatable, Sendable {
    /// Its name.
    public var name: String
    /// Its kind, such as "LORA".
    public var type: String
    /// The factor it is applied with.
    public var scale: Double
    /// SHA-256 of its weights, hexadecimal.
    public var sha256: String

    /// An adapter laid over the model.
    public init(name: String, type: String, scale: Double, sha256: String) {
      self.name = name
      self.type = type
      self.scale = scale
      self.sha256 = sha256
    }
  }

  /// The model.
  public struct Model: Equatable, Sendable {
    /// What to call it.
    public var name: String
    /// The family, such as "avt_llama".
    public var architecture: String
    /// Decoder layers of the whole model.
    public var layerCount: Int
    /// Query heads a layer.
    public var headCount: Int
    /// Key and value heads a layer.
    public var keyValueHeadCount: Int
    /// The type of the stored weights.
    public var dtype: String
    /// Its files.
    public var files: [HashedFile]
    /// Adapters, in the order applied.
    public var adapters: [Adapter]

    /// The model.
    public init(
      name: String, architecture: String, layerCount: Int, headCount: Int, keyValueHeadCount: Int,
      dtype: String, files: [HashedFile], adapters: [Adapter] = []
    ) {
      self.name = name
      self.architecture = architecture
      self.layerCount = layerCount
      self.headCount = headCount
      self.keyValueHeadCount = keyValueHeadCount
      self.dtype = dtype
      self.files = files
      self.adapters = adapters
    }
  }

  /// The data.
  public struct Data: Equatable, Sendable {
    /// What to call it.
    public var name: String
    /// SHA-256 of the list of samples, hexadecimal, or nil for a sample given on the command line.
    public var sha256: String?
    /// How many samples the whole run has; they are numbered from 0.
    public var sampleCount: Int
    /// Files of media rows that the samples are taken from.
    public var media: [HashedFile]
    /// The name of the folder where media paths begin, if it is not that of the data.
    public var mediaRoot: String?

    /// The data.
    public init(
      name: String, sha256: String?, sampleCount: Int, media: [HashedFile] = [], mediaRoot: String? = nil
    ) {
      self.name = name
      self.sha256 = sha256
      self.sampleCount = sampleCount
      self.media = media
      self.mediaRoot = mediaRoot
    }
  }

  /// One part of a run that was split.
  public struct Shard: Equatable, Sendable {
    /// Which part, from 0.
    public var index: Int
    /// How many parts there are.
    public var count: Int

    /// One part of a run that was split.
    public init(index: Int, count: Int) {
      self.index = index
      self.count = count
    }

    /// Whether this part measures a sample: those with `sample % count == index`.
    public func contains(_ sample: Int) -> Bool { sample % count == index }
  }

  /// The program that measured.
  public var tool: Tool
  /// The model.
  public var model: Model
  /// The data.
  public var data: Data
  /// What the numbers mean.
  public var definition: AttentionDefinition
  /// The part of the run, or nil for all of it.
  public var shard: Shard?
  /// Seed of the run (choice and generation of samples).
  public var seed: Int
  /// Options of the command that change numbers and stand nowhere above, kept as they are.
  public var options: JSONObject

  /// What a run was asked to do.
  public init(
    tool: Tool, model: Model, data: Data, definition: AttentionDefinition, shard: Shard? = nil, seed: Int = 0,
    options: JSONObject = JSONObject()
  ) {
    self.tool = tool
    self.model = model
    self.data = data
    self.definition = definition
    self.shard = shard
    self.seed = seed
    self.options = options
  }

  /// How many samples this run, or this part of it, has to measure.
  public var expectedCount: Int {
    guard let shard else { return data.sampleCount }
    return data.sampleCount > shard.index ? (data.sampleCount - shard.index - 1) / shard.count + 1 : 0
  }
}
