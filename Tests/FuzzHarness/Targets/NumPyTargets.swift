import RunKit
import TensorCore

private func headerText(_ type: String, _ shape: String, order: String = "False") -> String {
  "{'descr': '\(type)', 'fortran_order': \(order), 'shape': \(shape), }"
}

/// An array file of this header text, with data that count up.
private func npyBytes(_ text: String, dataCount: Int, version: UInt8 = 1) -> [UInt8] {
  let lengthCount = version == 1 ? 2 : 4
  let length = FuzzLayout.lengthField(text.utf8.count).prefix(lengthCount)
  return [0x93] + "NUMPY".utf8 + [version, 0] + length + text.utf8
    + (0..<dataCount).map { UInt8(truncatingIfNeeded: $0) }
}

private let npySeeds = [
  npyBytes(headerText("<f4", "(2, 3)"), dataCount: 24),
  npyBytes(headerText("<i2", "(2, 3, 4)", order: "True"), dataCount: 48),
  npyBytes(headerText("|b1", "(3,)"), dataCount: 3, version: 2),
  npyBytes(headerText("<u8", "()"), dataCount: 8, version: 3),
]

/// Header texts and data counts for each kind of fault.
private let npyFaults: [[UInt8]] = [
  npyBytes(headerText(">f4", "(1,)"), dataCount: 4), npyBytes(headerText("|O", "(1,)"), dataCount: 4),
  npyBytes("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", dataCount: 4),
  npyBytes(headerText("<f4", "(4294967296, 4294967296)"), dataCount: 4),
  npyBytes(headerText("<f4", "(2,)"), dataCount: 4), npyBytes("{'descr': '<f4'}", dataCount: 4),
  npyBytes(headerText("<f4", "(1)"), dataCount: 4),
  npyBytes(String(repeating: " ", count: 70_000), dataCount: 0, version: 2),
  npyBytes(headerText("<f4", "(1,)"), dataCount: 4, version: 9), [0x93, 0x4E], [0x93] + "NUMPY".utf8,
]

/// A zip archive of stored entries: NumPy's own form, with checksums that are right whatever the contents are.
private func zip(_ entries: [(name: [UInt8], contents: [UInt8])]) -> [UInt8] {
  var bytes: [UInt8] = []
  var directory: [UInt8] = []
  for (name, contents) in entries {
    let fields: [UInt8] =
      [20, 0, 0, 8, 0, 0, 0, 0, 0x21, 0] + FuzzLayout.lengthField(Int(checksum(contents))).prefix(4)
      + FuzzLayout.lengthField(contents.count).prefix(4) + FuzzLayout.lengthField(contents.count).prefix(4)
      + FuzzLayout.lengthField(name.count).prefix(2) + [0, 0]
    directory += [0x50, 0x4B, 1, 2, 20, 0] + fields + [UInt8](repeating: 0, count: 10)
    directory += FuzzLayout.lengthField(bytes.count).prefix(4) + name
    bytes += [0x50, 0x4B, 3, 4] + fields + name + contents
  }
  let count = FuzzLayout.lengthField(entries.count).prefix(2)
  return bytes + directory + [0x50, 0x4B, 5, 6, 0, 0, 0, 0] + count + count
    + FuzzLayout.lengthField(directory.count).prefix(4) + FuzzLayout.lengthField(bytes.count).prefix(4) + [
      0, 0,
    ]
}

/// CRC-32, bit by bit.
private func checksum(_ bytes: [UInt8]) -> UInt32 {
  var value = UInt32.max
  for byte in bytes {
    value ^= UInt32(byte)
    for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
  }
  return ~value
}

private let npzSeed = zip([
  (name: Array("share.npy".utf8), contents: npySeeds[0]),
  (name: Array("layer/0.npy".utf8), contents: npySeeds[2]),
])

/// Headers and directory records begin with "PK" and are at most 60 bytes long here.
private let npzLayout = FuzzLayout.binary { bytes in
  bytes.indices.dropLast().filter { bytes[$0] == 0x50 && bytes[$0 + 1] == 0x4B }
    .map { $0..<min($0 + 60, bytes.count) }
}

/// A changed array in an archive that is right otherwise, so that the checksum does not hide it.
@Sendable private func archiveOfChangedArray(_ random: inout FuzzRandom) -> [FuzzFile] {
  var array = random.happens(30) ? random.pick(npyFaults) : random.pick(npySeeds)
  if random.happens(70) { array = FuzzLayout.binary(headerCount: 90).changeStructure(of: array, &random) }
  let name = random.pick(["share.npy", "a.npy", "a.txt", ".npy", "share.npy/../x.npy"])
  let entries = [
    (name: Array(name.utf8), contents: array), (name: Array("share.npy".utf8), contents: npySeeds[0]),
  ]
  return [FuzzFile("arrays.npz", zip(random.happens(50) ? entries : entries.reversed()), npzLayout)]
}

/// An archive with one byte of its directory set: the flags or the method of the first entry, or its checksum.
@Sendable private func archiveOfOddEntry(_ random: inout FuzzRandom) -> [FuzzFile] {
  var bytes = npzSeed
  let directory =
    bytes.indices.dropLast(3).first { bytes[$0..<$0 + 4].elementsEqual([0x50, 0x4B, 1, 2]) } ?? 0
  bytes[directory + random.pick([8, 10, 16, 17, 20, 24, 42])] = random.pick([1, 8, 12])
  return [FuzzFile("arrays.npz", bytes, npzLayout)]
}

extension FuzzTarget {
  /// NumPy array files.
  static let npy = FuzzTarget(
    "npy", file: "array.npy", layout: .binary(headerCount: 90), errors: [], seeds: npySeeds,
    directed: npyFaults,
    read: { path in
      let array = try NPYFile.read(path: path)
      _ = try? array.integers()
      _ = try? array.floats()
    })

  /// NumPy archives.
  static let npz = FuzzTarget(
    "npz", errors: [NumPyFileError.self], seeds: [[FuzzFile("arrays.npz", npzSeed, npzLayout)]],
    directed: [
      archiveOfChangedArray, archiveOfChangedArray, archiveOfOddEntry,
      { _ in [FuzzFile("arrays.npz", zip([]), npzLayout)] },
    ],
    read: { folder in
      let archive = try NPZArchive(path: "\(folder)/arrays.npz")
      for array in archive.arrays { _ = array.bytes() }
      _ = try archive.array("share")
    })
}
