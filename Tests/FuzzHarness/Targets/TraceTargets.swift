import Analysis
import RunKit
import TensorCore
import TokenModel

private typealias Entry = CheckpointBytes.Entry

private let inputWords = [
  "input_ids", "attention_mask", "position_ids", "image_u8", "audio_u8", "inputs_embeds", "dtype", "shape",
  "data_offsets", "I64", "I32", "U8", "F32", "BOOL",
]

/// Inputs of a trace and the names of what it hands out.
private func traceFolder(_ entries: [Entry], capture: String = #"["logits","hidden.1","layers.0.query"]"#)
  -> [FuzzFile]
{
  [
    FuzzFile("inputs.safetensors", CheckpointBytes.safetensors(entries), .safetensors(words: inputWords)),
    FuzzFile(
      "capture.json", [UInt8](capture.utf8),
      .json(words: [
        "logits", "hidden.0", "hidden.2", "attention.0", "embeddings", "layers.0.key", "layers.7.key",
      ])),
  ]
}

private let ids = Entry("input_ids", [2, 3], integers: [1, 8, 9, 2, 0, 0])
private let mask = Entry("attention_mask", [2, 3], integers: [1, 1, 1, 1, 0, 0])
private let positions = Entry("position_ids", [2, 3], integers: [0, 1, 2, 0, 1, 1])
private let image = Entry("image_u8", .u8, [1, 1, 2, 2], bytes: [1, 2, 3, 4])
private let audio = Entry("audio_u8", .u8, [1, 1, 2, 4], bytes: [1, 2, 3, 4, 5, 6, 7, 8])
private let idsWithMedia = Entry("input_ids", [2, 3], integers: [1, 5, 9, 1, 6, 8])

extension FuzzTarget {
  /// Raw inputs of `trace`.
  static let trace = FuzzTarget(
    "trace", errors: [TraceError.self],
    seeds: [
      traceFolder([ids, mask, positions]),
      traceFolder([idsWithMedia, image, audio], capture: #"["attention.0"]"#),
      traceFolder([Entry("input_ids", .u8, [3], bytes: [1, 2, 3])], capture: "[]"),
    ],
    directed: [
      { _ in
        let bytes = [UInt8](repeating: 0, count: 16)
        return traceFolder([idsWithMedia, Entry("image_u8", .f32, [1, 1, 2, 2], bytes: bytes), audio])
      },
      { _ in traceFolder([mask]) }, { _ in traceFolder([ids, Entry("x", [1], integers: [1])]) },
      { _ in traceFolder([ids], capture: #"["hidden.3"]"#) }, { _ in traceFolder([ids, image]) },
      { _ in traceFolder([ids, Entry("attention_mask", [2, 3], integers: [1, 1, 1, 0, 0, 0])]) },
      { _ in traceFolder([ids, Entry("position_ids", [2, 3], integers: [0, 1, 2, 0, -1, 2])]) },
      { _ in traceFolder([idsWithMedia, image, audio, positions]) },
      { random in
        let shape = random.pick([[6], [1, 6], [3, 2], [6, 1], [2, 3, 1], [1, 2, 3]])
        let name = random.pick(["input_ids", "attention_mask", "position_ids"])
        let entries = [ids, mask, positions].filter { $0.name != name }
        return traceFolder(entries + [Entry(name, shape, integers: [1, 1, 1, 1, 1, 1])])
      },
      { random in
        let values = (0..<6).map { _ in random.pick([0, 1, 1, 2, -1, .max, .min]) }
        let (name, other) = random.pick([
          ("attention_mask", positions), ("position_ids", mask), ("input_ids", mask),
        ])
        return traceFolder(
          [Entry(name, [2, 3], integers: values), other] + (name == "input_ids" ? [] : [ids]))
      },
      { random in traceFolder([idsWithMedia, image, audio, random.pick([mask, positions])]) },
      { random in traceFolder([idsWithMedia] + random.pick([[], [image], [image, image], [ids]])) },
      { random in
        let shape = random.pick([[4], [1, 4], [2, 2], [1, 2, 2], [1, 1, 1, 4], [0, 1, 2, 2]])
        let bytes = [UInt8](repeating: 9, count: shape.reduce(1, *))
        return traceFolder([idsWithMedia, Entry("image_u8", .u8, shape, bytes: bytes), audio])
      },
      { random in
        traceFolder(
          [ids],
          capture: #"["\#(random.pick(["hidden.3", "attention.1", "logit", "layers.0", "", "hidden.-1"]))"]"#)
      },
    ],
    large: [
      { _ in
        // A thousand million ids that occupy no space.
        let count = 1 << 30
        let header = [UInt8](
          #"{"input_ids":{"dtype":"U8","shape":[1,\#(count)],"data_offsets":[0,\#(count)]}}"#.utf8)
        var files = traceFolder([ids])
        files[0].contents = .sparse(
          FuzzLayout.lengthField(header.count) + header, count: 8 + header.count + count)
        return files
      },
      { _ in
        // One id too many once its image is four rows.
        let many = [UInt8](repeating: 8, count: Prompt.positionLimit - 1) + [5]
        return traceFolder([Entry("input_ids", .u8, [1, many.count], bytes: many), image])
      },
    ],
    read: { folder in
      let checkpoint = try model.get()
      let names = try JSONValue(parsing: contents("\(folder)/capture.json")).arrayValue?.compactMap(
        \.stringValue)
      let file = try SafetensorsFile(path: "\(folder)/inputs.safetensors")
      let inputs = try TraceInputs(file.tensors, path: file.path, model: checkpoint.model)
      _ = try Trace(checkpoint.model, names: names).run(inputs)
    })

  /// A reference file of `verify`: inputs and outputs by name.
  static let reference = FuzzTarget(
    "reference", file: "reference.safetensors",
    layout: .safetensors(
      words: inputWords + [
        "a.input_ids", "a.hidden.0", "hidden.last", "hidden.1_f64", "attn.0", "attention.0", "logits",
      ]),
    errors: [],
    seeds: [
      CheckpointBytes.safetensors([
        ids, mask, Entry(weight: "hidden.0", [2, 3, 8]), Entry(weight: "logits", [2, 3, 26]),
      ]),
      CheckpointBytes.safetensors([
        Entry("a.input_ids", [1, 2], integers: [1, 8]), Entry(weight: "a.attn.0", [1, 2, 2, 2]),
        Entry(weight: "a.hidden.last_f64", [1, 2, 8]), Entry(weight: "b.hidden.0", [1, 2, 8]),
      ]),
    ],
    read: { path in
      let comparison = try ReferenceComparison(SafetensorsFile(path: path), model: model.get().model)
      if comparison.passed { throw FuzzFailure(message: "made-up outputs passed as those of the model") }
    })
}

/// Attention of two heads over three positions, as another program would write it.
private func attentionFile(
  shape: [Int] = [1, 2, 3, 3], probabilities: [Float] = [1, 0, 0, 0.5, 0.5, 0, 0.25, 0.25, 0.5],
  roles: [Int] = [0, 2, 7], queries: [Int] = [0, 1, 1]
) -> [UInt8] {
  let count = shape.reduce(1, *)
  let values = (0..<count).map { probabilities[$0 % probabilities.count] }
  return CheckpointBytes.safetensors([
    Entry("attention.0", shape, floats: values), Entry("attention.1", shape, floats: values),
    Entry("roles", [1, roles.count], integers: roles),
    Entry("queries", [1, queries.count], integers: queries),
  ])
}

extension FuzzTarget {
  /// Attention computed elsewhere, as far as its result.
  static let attentionImport = FuzzTarget(
    "import", file: "attention.safetensors",
    layout: .safetensors(
      words: [
        "attention.0", "attention.1", "attention.2", "roles", "queries", "F32", "F16", "U8", "I64", "BOOL",
      ]),
    errors: [AttentionImportError.self],
    seeds: [
      attentionFile(), attentionFile(roles: [0, 7, -1], queries: [1, 0, 0]),
      CheckpointBytes.safetensors([
        Entry("attention.0", [1, 1, 2, 2], floats: [1, 0, 0.5, 0.5]),
        Entry("roles", [1, 2], integers: [2, 7]),
      ]),
    ],
    directed: [
      attentionFile(roles: [0, 2, 9]), attentionFile(roles: [-2, 2, 7]), attentionFile(roles: [-1, -1, -1]),
      attentionFile(queries: [0, 0, 0]), attentionFile(probabilities: [0.5, 0.4, 0.2]),
      attentionFile(probabilities: [.nan, 1, 0]), attentionFile(probabilities: [-1, 2, 0]),
      attentionFile(shape: [1, 3, 2, 3]), attentionFile(shape: [2, 1, 3, 3]),
      attentionFile(shape: [1, 0, 3, 3]),
      attentionFile(roles: [0, 2]),
      CheckpointBytes.safetensors([Entry("attention.0", [1, 1, 1, 1], floats: [1])]),
      CheckpointBytes.safetensors([ids]),
    ],
    read: { path in
      let file = try AttentionImport(path: path)
      let definition = AttentionDefinition(
        queries: .last, layers: Array(0..<file.layerCount), heads: Array(0..<file.headCount),
        interval: .init(replicates: 20))
      let samples = try file.samples(definition)
      let context = AttentionContext(
        tool: .init(version: "0", commit: nil),
        model: .init(
          name: "import", architecture: "import", layerCount: file.layerCount, headCount: file.headCount,
          keyValueHeadCount: file.headCount, dtype: "F32", files: []),
        data: .init(name: "import", sha256: nil, sampleCount: file.sampleCount), definition: definition)
      _ = AttentionSummary(context, samples).json.text()
    })
}
