extension FuzzTarget {
  /// Every reader under test. Add yours here, with a file of seeds beside this one.
  static let all: [FuzzTarget] = [
    .json,
    .storedTensor,
    .safetensors,
    .shards,
    .npy,
    .npz,
  ]
}
