import TensorCore

/// The keys and values of every layer for the rows a model has seen, and the roles of these rows.
public final class KeyValueCache {
  private var keys: [RowStore] = []
  private var values: [RowStore] = []
  /// For each sequence the roles of the cached rows.
  public private(set) var roles: [[Role]]
  private let capacity: Int

  /// - Parameters:
  ///   - sequences: How many sequences the batch has.
  ///   - capacity: Rows expected for the longest sequence; more are possible.
  public init(sequences: Int, capacity: Int) {
    roles = Array(repeating: [], count: sequences)
    self.capacity = capacity
  }

  /// Notes the roles of the rows of a forward pass after its last layer.
  func didAppend(_ context: TokenContext) {
    for sequence in roles.indices { roles[sequence] += context.roles[context.segments[sequence]] }
  }

  /// Appends the keys and values of a layer and gives all of them with the rows they lie in.
  func append(keys newKeys: Tensor, values newValues: Tensor, layer: Int, context: TokenContext) -> (
    keys: Tensor, values: Tensor, rows: KeyRows
  ) {
    while keys.count <= layer {
      keys.append(RowStore(sequences: roles.count, width: newKeys.columns, capacity: capacity))
      values.append(RowStore(sequences: roles.count, width: newValues.columns, capacity: capacity))
    }
    keys[layer].append(newKeys, segments: context.segments)
    values[layer].append(newValues, segments: context.segments)
    let tensor = keys[layer].tensor
    return (tensor, values[layer].tensor, KeyRows(starts: keys[layer].starts, count: tensor.rows))
  }
}
