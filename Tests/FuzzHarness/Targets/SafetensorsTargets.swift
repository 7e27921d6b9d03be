import RunKit
import TensorCore

/// Words that mean something in a safetensors header.
private let headerWords =
  ElementType.allCases.map(\.rawValue) + ElementType.unsupportedNames
  + ["dtype", "shape", "data_offsets", "__metadata__", "weight", "input_ids", "image", "", "x", "f32"]

/// A safetensors file of this header, with data that count up.
private func safetensorsBytes(_ header: String, dataCount: Int) -> [UInt8] {
  let header = [UInt8](header.utf8)
  return FuzzLayout.lengthField(header.count) + header + (0..<dataCount).map { UInt8(truncatingIfNeeded: $0) }
}

/// One tensor of type U8 with this entry in the header.
private func oneTensor(_ shape: String, _ offsets: String, dtype: String = "U8", dataCount: Int = 4)
  -> [UInt8]
{
  safetensorsBytes(
    #"{"weight":{"dtype":"\#(dtype)","shape":\#(shape),"data_offsets":\#(offsets)}}"#, dataCount: dataCount)
}

private let typicalFile = safetensorsBytes(
  #"{"__metadata__":{"format":"pt"},"weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"#
    + #""half":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"#
    + #""input_ids":{"dtype":"I64","shape":[1,2],"data_offsets":[32,48]},"#
    + #""image":{"dtype":"U8","shape":[1,2,2],"data_offsets":[48,52]},"#
    + #""none":{"dtype":"F16","shape":[0,8],"data_offsets":[52,52]}}  "#,
  dataCount: 52)

/// Uses the tensors of a file as a model would.
private func use(_ tensors: [StoredTensor]) throws {
  for tensor in tensors {
    if tensor.name == "input_ids" {
      _ = try tensor.integers()
    } else {
      guard try tensor.floats().count == tensor.elementCount else {
        throw FuzzFailure(message: "a tensor has another number of elements than its shape says")
      }
    }
  }
}

/// Headers as long, or of as many values, as are accepted.
private let largestHeaders: [@Sendable () -> String] = [
  { #"{"__metadata__":{"a":""# + String(repeating: "x", count: SafetensorsFile.headerLimit - 30) + #""}}"# },
  {
    #"{"__metadata__":{"# + (1...JSONValue.countLimit - 2).map { "\"\($0)\":\"\"" }.joined(separator: ",")
      + "}}"
  },
  {
    "{"
      + (1...JSONValue.countLimit / 7).map { #""\#($0)":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"# }
      .joined(separator: ",") + "}"
  },
]

extension FuzzTarget {
  /// One safetensors file.
  static let safetensors = FuzzTarget(
    "safetensors", file: "model.safetensors", layout: .safetensors(words: headerWords),
    errors: [SafetensorsError.self],
    seeds: [typicalFile, oneTensor("[2, 2]", "[0, 4]")],
    directed: [
      oneTensor("[-4]", "[0,4]"), oneTensor("[4294967296,4294967296]", "[0,4]"),
      oneTensor("[9223372036854775807]", "[0,4]", dtype: "F64"), oneTensor("[4]", "[4,0]"),
      oneTensor("[4]", "[-4,0]"), oneTensor("[4]", "[0]"), oneTensor("[5]", "[0,5]"),
      oneTensor("[3]", "[0,4]"),
      oneTensor("[3]", "[1,4]"), oneTensor("[3]", "[0,3]"), oneTensor("[4]", "[0,4]", dtype: "F8_E4M3"),
      oneTensor("[4]", "[0,4]", dtype: "I8", dataCount: 4),
      safetensorsBytes(#"{"":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#, dataCount: 4),
      safetensorsBytes(#"{"weight":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1}}"#, dataCount: 4),
      safetensorsBytes(
        #"{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[3],"data_offsets":[1,4]}}"#,
        dataCount: 4),
      safetensorsBytes(#"{"__metadata__":{"a":1}}"#, dataCount: 0), safetensorsBytes("[]", dataCount: 0),
      FuzzLayout.lengthField(2) + [0x22, 0xFF], FuzzLayout.lengthField(5) + [0x7B, 0x22, 0xFF, 0x22, 0x7D],
      FuzzLayout.lengthField(SafetensorsFile.headerLimit + 1) + [0x7B], FuzzLayout.lengthField(-1) + [0x7B],
      [1, 2, 3],
    ],
    large: largestHeaders.map { make in { safetensorsBytes(make(), dataCount: 0) } },
    read: { path in
      let file = try SafetensorsFile(path: path)
      try use(file.tensors)
      _ = try file.tensor("weight")
    })

  /// A model folder: an index and two shards.
  static let shards = FuzzTarget(
    "shards", errors: [ShardedTensorsError.self, SafetensorsError.self], seeds: [shardSeed],
    directed: [
      { _ in
        var files = shardSeed
        files[0].contents = .sparse([], count: ShardedTensors.indexLimit + 1)
        return files
      },
      { _ in [shardFile("one.safetensors", "a")] },
      { _ in
        [shardIndex(#"{"a":"one.safetensors","b":"two.safetensors"}"#), shardFile("one.safetensors", "a")]
      },
      { _ in
        var link = shardFile("two.safetensors", "b")
        link.contents = .link(to: "/proc/self/exe")
        return [
          shardIndex(#"{"a":"one.safetensors","b":"two.safetensors"}"#), shardFile("one.safetensors", "a"),
          link,
        ]
      },
      { random in
        let name = random.pick(["../one.safetensors", "/dev/zero", "..", "", "a/b", "a\\\\b", "one\\u0000"])
        return [shardIndex(#"{"a":"\#(name)"}"#), shardFile("one.safetensors", "a")]
      },
      { _ in
        let header =
          #"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"#
          + #""b":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}}"#
        let shard = FuzzFile(
          "one.safetensors", safetensorsBytes(header, dataCount: 4), .safetensors(words: headerWords))
        return [shardIndex(#"{"a":"one.safetensors"}"#), shard]
      },
      { _ in [shardIndex(#"{"x":"one.safetensors"}"#), shardFile("one.safetensors", "a")] },
      { _ in
        [
          shardIndex(#"{"a":"one.safetensors","b":"two.safetensors"}"#), shardFile("one.safetensors", "a"),
          shardFile("two.safetensors", "a"),
        ]
      },
    ],
    large: [
      { _ in
        let entries = (1...JSONValue.countLimit - 4).map { "\"\($0)\":\"one.safetensors\"" }
        return [shardIndex("{" + entries.joined(separator: ",") + "}"), shardFile("one.safetensors", "a")]
      }
    ],
    read: { folder in
      let model = try ShardedTensors(folder: folder)
      try use(model.tensors)
      _ = try model.tensor("a")
    })

  private static let shardSeed = [
    shardIndex(#"{"a":"one.safetensors","b":"two.safetensors"}"#), shardFile("one.safetensors", "a"),
    shardFile("two.safetensors", "b"),
  ]

  private static func shardIndex(_ map: String) -> FuzzFile {
    let words = [
      "weight_map", "metadata", "total_size", "a", "b", "one.safetensors", "two.safetensors", "../a", "",
    ]
    return FuzzFile(
      "model.safetensors.index.json", [UInt8](#"{"metadata":{"total_size":8},"weight_map":\#(map)}"#.utf8),
      .json(words: words))
  }

  private static func shardFile(_ name: String, _ tensor: String) -> FuzzFile {
    let header = #"{"\#(tensor)":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#
    return FuzzFile(name, safetensorsBytes(header, dataCount: 4), .safetensors(words: headerWords))
  }

  /// Making and converting a tensor in memory, from a description as a file would give it.
  static let storedTensor = FuzzTarget(
    "tensor", file: "tensor.json", layout: .json(words: headerWords + ["type", "count"]),
    errors: [StoredTensorError.self],
    seeds: [ElementType.i64, .i32, .u32, .i16, .u8, .bool].map {
      [UInt8](#"{"type":"\#($0.rawValue)","shape":[2,2],"count":\#(4 * $0.byteCount)}"#.utf8)
    },
    directed: [
      #"{"type":"F32","shape":[1],"count":4}"#, #"{"type":"U64","shape":[1],"count":8}"#,
      #"{"type":"F64","shape":[9223372036854775807,2],"count":8}"#, #"{"type":"U8","shape":[-1],"count":1}"#,
    ].map { [UInt8]($0.utf8) },
    read: { path in
      let document = try JSONValue(parsing: contents(path))
      guard let type = document["type"]?.stringValue.flatMap(ElementType.init),
        let count = document["count"]?.intValue,
        0...1_000_000 ~= count
      else { return }
      let tensor = try StoredTensor(
        name: "t", elementType: type, shape: document["shape"]?.arrayValue?.compactMap(\.intValue) ?? [],
        storage: .owned([UInt8](repeating: 0xFF, count: count)))
      _ = try? tensor.floats()
      _ = try? tensor.doubles()
      _ = try tensor.integers()
    })
}
