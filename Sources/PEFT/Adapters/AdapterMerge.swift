public import Foundation
import RunKit
import TensorCore
public import TokenModel

/// Writes a model folder in which an adapter has become part of the weights: W + s · B A for adapted layers, trained
/// biases and modules in place of the old ones.
///
/// Sums are rounded to the element type of the file, so logits of a model in 16 bits differ by that rounding.
public struct AdapterMerge {
  private let checkpoint: Checkpoint
  private let adapter: StoredAdapter

  /// - Throws: `AdapterError.notMergeable` with the reason for MokA.
  public init(_ adapter: StoredAdapter, into checkpoint: Checkpoint) throws(AdapterError) {
    if let moka = adapter.plan.configuration.moka {
      let reason =
        moka.interaction == .none
        ? "A depends on the modality of each row, and one weight is the same for all rows"
        : "A depends on the modality of each row, and rows of media also on the question; one weight is the same for all"
      throw .notMergeable(path: adapter.folder.path, reason: reason)
    }
    (self.checkpoint, self.adapter) = (checkpoint, adapter)
  }

  /// - Returns: How many tensors were changed.
  /// - Throws: `AdapterError.sameFolder`, `.quantised`; errors of files.
  public func write(to folder: URL, progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }) throws -> Int
  {
    let resolved = folder.standardizedFileURL.resolvingSymlinksInPath()
    guard resolved != checkpoint.folder.standardizedFileURL.resolvingSymlinksInPath(),
      resolved != adapter.folder.standardizedFileURL.resolvingSymlinksInPath()
    else { throw AdapterError.sameFolder(path: folder.path) }
    let plan = adapter.plan
    let names = plan.layout.resolved(in: checkpoint.weights.names)
    for module in plan.modules {
      let name = names.name(of: module.site.name + ".weight")
      if checkpoint.weights[name] == nil {
        throw AdapterError.quantised(path: checkpoint.folder.path, tensor: name)
      }
    }
    // Refused before anything is written.
    let isRotated = try adapter.rotations(for: checkpoint) != nil
    let adapted = Dictionary(plan.modules.map { ($0.site.name + ".weight", $0) }) { first, _ in first }
    let total = adapted.count + plan.slots.count { $0.isWhole }
    try FileSystem.createFolder(folder.path)
    return try withoutActuallyEscaping(progress) { progress in
      var done = 0
      let copy = CheckpointCopy(checkpoint: checkpoint, layout: plan.layout) { name, tensor in
        let changed = try merged(name, tensor, adapted[name])
        if changed != nil {
          done += 1
          progress(done, total)
        }
        return changed
      }
      if isRotated { try adapter.copyRotations(to: folder) }
      try copy.write { name, body in try body(folder.appendingPathComponent(name)) }
      return done
    }
  }

  private func merged(_ name: String, _ tensor: StoredTensor, _ module: AdapterPlan.Module?) throws
    -> [Float]?
  {
    if let module {
      let down = adapter.tensors["\(module.site.name).lora_A.weight"]
      let up = adapter.tensors["\(module.site.name).lora_B.weight"]
      guard let down, let up else { return nil }
      let weight = Tensor(try tensor.floats(), shape: tensor.shape)
      return (weight + up.matmul(module.scale * down)).hostValues()
    }
    guard let slot = adapter.plan.slot(name), slot.isWhole else { return nil }
    return adapter.tensors[name]?.hostValues()
  }
}
