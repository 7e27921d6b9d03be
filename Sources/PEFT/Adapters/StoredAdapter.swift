public import Foundation
import RunKit
public import TensorCore
public import TokenModel

/// An adapter in a folder: `adapter_config.json` and `adapter_model.safetensors`, as PEFT writes them.
public struct StoredAdapter: Sendable {
  /// The name of the configuration file.
  public static let configurationName = "adapter_config.json"
  /// The name of the tensor file.
  public static let tensorsName = "adapter_model.safetensors"
  private static let configurationLimit = 10 << 20

  /// The folder.
  public let folder: URL
  /// Where it stands in the model.
  public let plan: AdapterPlan
  /// Its tensors by the family's own names.
  public let tensors: [String: Tensor]

  /// Reads the configuration of a folder.
  ///
  /// - Throws: `FileError`, `ConfigurationError`, `AdapterError.unknownType`.
  public static func configuration(of folder: URL) throws -> AdapterConfiguration {
    let path = folder.appendingPathComponent(configurationName)
    return try AdapterConfiguration(
      ConfigurationReader(path: path.path, bytes: FileReader.bytes(of: path, limit: configurationLimit)))
  }

  /// The tensor file of a folder.
  ///
  /// - Throws: `AdapterError.pickled` where there is a pickle in its place; `FileError`, `SafetensorsError`.
  public static func tensorFile(of folder: URL) throws -> SafetensorsFile {
    let path = folder.appendingPathComponent(tensorsName)
    let pickle = folder.appendingPathComponent("adapter_model.bin")
    if !FileManager.default.fileExists(atPath: path.path), FileManager.default.fileExists(atPath: pickle.path)
    {
      throw AdapterError.pickled(path: pickle.path)
    }
    return try SafetensorsFile(path: path.path)
  }

  /// Reads an adapter for a model; every tensor must have its place and every place its tensor.
  ///
  /// - Throws: `FileError`, `ConfigurationError`, `SafetensorsError`, `AdapterError`.
  public init(folder: URL, for checkpoint: Checkpoint) throws {
    let path = folder.appendingPathComponent(Self.configurationName).path
    let plan = try AdapterPlan(
      Self.configuration(of: folder), ModelInventory(checkpoint), path: path)
    try self.init(folder: folder, plan: plan, file: Self.tensorFile(of: folder))
  }

  init(folder: URL, plan: AdapterPlan, file: SafetensorsFile) throws {
    (self.folder, self.plan) = (folder, plan)
    var tensors: [String: Tensor] = [:]
    var unmatched: [String] = []
    for stored in file.tensors {
      guard let slot = plan.slot(named: stored.name) else {
        unmatched.append(stored.name)
        continue
      }
      guard stored.shape == slot.shape else {
        throw AdapterError.wrongShape(
          path: file.path, tensor: stored.name, found: stored.shape, expected: slot.shape)
      }
      let values = try stored.floats()
      guard values.allSatisfy(\.isFinite) else {
        throw AdapterError.notFinite(path: file.path, name: stored.name)
      }
      tensors[slot.name] = Tensor(values, shape: slot.shape)
    }
    guard unmatched.isEmpty else {
      throw AdapterError.unmatchedKeys(path: file.path, keys: unmatched, total: file.tensors.count)
    }
    let missing = plan.slots.filter { tensors[$0.name] == nil }.map(\.key)
    guard missing.isEmpty else {
      throw AdapterError.missingTensors(path: file.path, tensors: missing, total: plan.slots.count)
    }
    self.tensors = tensors
  }

  /// The rotated queries beside the adapter; nil where there are none.
  ///
  /// - Throws: `RollingQueryError`, also where the model has rotated queries already; errors of the file.
  func rotations(for checkpoint: Checkpoint) throws -> StoredRotations? {
    let found = try StoredRotations(in: folder, for: checkpoint.model.decoder.configuration)
    if found != nil, let own = checkpoint.rotations {
      throw RollingQueryError.alreadyRotated(path: own.file.path)
    }
    return found
  }

  /// Copies the file of rotated queries, if there is one, beside what is made of the adapter.
  public func copyRotations(to target: URL) throws {
    let source = folder.appendingPathComponent(StoredRotations.name)
    guard FileManager.default.fileExists(atPath: source.path) else { return }
    let bytes = try FileReader.bytes(of: source, limit: 1 << 30)
    try AtomicFile.write(bytes, to: target.appendingPathComponent(StoredRotations.name))
  }

  /// The files with their names in records.
  public var attachments: [(name: String, file: URL)] {
    [Self.configurationName, Self.tensorsName].map { ("adapter/" + $0, folder.appendingPathComponent($0)) }
  }
}

extension AdapterPlan {
  /// The slot of a name in a file, whichever layout of modules it has.
  func slot(named key: String) -> Slot? {
    guard key.hasPrefix(Self.keyPrefix) else { return nil }
    let name = key.dropFirst(Self.keyPrefix.count).replacingOccurrences(of: ".base_layer.", with: ".")
    return slot(layout.ownName(of: name) ?? (layout == .identity ? name : ""))
  }

  /// The tensors for a file, in order.
  ///
  /// - Throws: `StoredTensorError`.
  public func stored(_ tensors: [String: Tensor]) throws -> [StoredTensor] {
    try slots.map { slot in
      let value = tensors[slot.name]
      require(value?.shape == slot.shape, "no tensor of shape \(slot.shape) for \(slot.name)")
      return try StoredTensor(name: slot.key, shape: slot.shape, floats: value?.hostValues() ?? [])
    }
  }

  /// Writes the two files of an adapter, the configuration last.
  ///
  /// - Parameter write: Writes a file of the given name in one step.
  public func write(
    _ tensors: [String: Tensor], by write: (_ name: String, _ body: (URL) throws -> Void) throws -> Void
  ) throws {
    let stored = try stored(tensors)
    try write(StoredAdapter.tensorsName) { url in
      try SafetensorsWriter.write(tensors: stored, metadata: ["format": "pt"], to: url.path)
    }
    let text = JSONValue.object(configuration.json).text(.indented) + "\n"
    try write(StoredAdapter.configurationName) { try AtomicFile.write(text, to: $0) }
  }

  /// Writes the two files of an adapter into a folder, which is made if it does not exist.
  public func write(_ tensors: [String: Tensor], to folder: URL) throws {
    try FileSystem.createFolder(folder.path)
    try write(tensors) { name, body in try body(folder.appendingPathComponent(name)) }
  }
}

extension Checkpoint {
  /// The checkpoint with an adapter in its model.
  ///
  /// - Throws: As `StoredAdapter`.
  public func adapted(by folder: URL) throws -> Checkpoint {
    let adapter = try StoredAdapter(folder: folder, for: self)
    let model = try model { adapter.plan.adapting($0, adapter.tensors) }
    let rotations = try StoredRotations(in: folder, for: model.decoder.configuration)
    var attachments = adapter.attachments
    if let rotations { attachments.append(("adapter/" + StoredRotations.name, rotations.file)) }
    return try with(model, attachments: attachments, rotations: rotations)
  }
}
