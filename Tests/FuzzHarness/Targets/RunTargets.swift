import Analysis
import Foundation
import RunKit
import TokenModel

private let definition = AttentionDefinition(
  queries: .answer,
  groups: [
    .init(name: "bos", roles: [.bos]), .init(name: "image", roles: [.image]),
    .init(name: "text", roles: [.question, .response]),
  ],
  layers: [0], heads: [0, 1], sinks: .auto, interval: .init(replicates: 20, clusterKey: "image"))

private func context(samples: Int, shard: AttentionContext.Shard? = nil) -> AttentionContext {
  AttentionContext(
    tool: .init(version: "0.1.0", commit: nil),
    model: .init(
      name: "m", architecture: "llama", layerCount: 2, headCount: 2, keyValueHeadCount: 1, dtype: "bf16",
      files: [.init(name: "model.safetensors", sha256: "00")],
      adapters: [.init(name: "a", type: "lora", scale: 2, sha256: "01")]),
    data: .init(name: "d.jsonl", sha256: "02", sampleCount: samples), definition: definition, shard: shard)
}

private func record(_ index: Int) -> AttentionRecord {
  AttentionRecord(
    index: index, id: "s\(index)", hash: "03", clusters: ["image": "i\(index / 2)"],
    tags: ["type": "t\(index % 2)"],
    tokens: [1, 4, 2], visible: [1, 4, 1.5], queryCount: 2, text: "a", answer: "b", generated: nil,
    share: [0.5, 0.25, 0.25, 0.125, 0.5, 0.375], sinkShare: [0.5, 0, 0, 0.125, 0, 0],
    sinks: [.init(row: 0, group: 0, piece: "<s>", rate: 1)], entropy: [1, 0.5],
    baseline: [0.125, 0.5, 0.375],
    queryTokens: [.init(row: 5, piece: "a", predicts: "b", share: [0.25, 0.5, 0.25])],
    keys: index == 0
      ? .init(
        share: [0.25, 0.25, 0.125, 0.125, 0.25], pieces: ["<s>", "1", "2", "3", "4"], groups: [0, 1, 1, 1, 1])
      : nil,
    media: index == 0
      ? [
        .init(
          kind: "image", firstKey: 1, keys: 4, width: 2, height: 2, gridWidth: 2, gridHeight: 2,
          pixels: [1, 2, 3, 4])
      ]
      : [], rowSumError: 1e-7)
}

/// samples.jsonl of these samples, every third one left out.
private func sampleLines(_ indices: [Int]) -> [UInt8] {
  let lines = indices.map { index in
    let sample: AttentionSample =
      index % 3 == 2 ? .skipped(index: index, id: "s\(index)", reason: "too long") : .measured(record(index))
    return sample.json(definition).text() + "\n"
  }
  return [UInt8](lines.joined().utf8)
}

private let recordWords = [
  "index", "id", "hash", "clusters", "tags", "tokens", "visible", "query_count", "text", "answer",
  "generated", "share",
  "sink_share", "sinks", "entropy", "baseline", "query_tokens", "key_share", "key_pieces", "key_groups",
  "media",
  "row_sum_error", "nonfinite", "skipped", "row", "group", "piece", "rate", "predicts", "kind", "first_key",
  "keys",
  "width", "height", "grid_width", "grid_height", "pixels", "AQIDBA==", "bos", "image",
]
private let configurationWords = [
  "schema", "kind", "tool", "model", "data", "definition", "shard", "seed", "options", "name", "version",
  "commit",
  "layers", "heads", "kv_heads", "files", "adapters", "n_requested", "queries", "groups", "roles", "ci",
  "method",
  "level", "replicates", "cluster_key", "sinks", "sink_threshold", "sink_rate", "index", "count", "bootstrap",
  "t", "auto",
  "bos",
  "image", "text", "audio", "response", "layer_groups", "scale", "sha256",
]

/// The files of a run below `folder`.
private func runFiles(_ folder: String, _ context: AttentionContext, _ indices: [Int]) -> [FuzzFile] {
  [
    FuzzFile(
      "\(folder)config.json", [UInt8](context.json.text(.indented).utf8), .json(words: configurationWords)),
    FuzzFile("\(folder)samples.jsonl", sampleLines(indices), .jsonLines(words: recordWords)),
  ]
}

private func wholeRun(_ indices: [Int] = [0, 1, 2, 3]) -> [FuzzFile] {
  runFiles("", context(samples: 4), indices)
}

/// A run of contributions by a method, with one sample that was left out.
private func contributionRun(_ method: ContributionDefinition.Method) -> [FuzzFile] {
  var context = context(samples: 3)
  context.model.layerCount = 1
  context.definition.queries = .last
  context.definition.groups[2].roles = [.question]
  context.definition.contribution = ContributionDefinition(method: method, target: .margin)
  let definition = context.definition
  let lines = [0, 1].map { index -> String in
    var measured = record(index)
    measured.contribution = Contribution(
      target: .init(id: 5, piece: "b", value: 1.5, probability: 0.25, isPrediction: index == 0),
      effect: definition.contribution?.hasEffects == true ? [0.5, -0.25, 1] : nil, magnitude: [0.5, 0.25, 1],
      cells: definition.cellNames.indices.map { Double($0) / 8 },
      heads: method == .valueNorm ? [0.5, 0.25, 0.25, 0.125, 0.5, 0.375] : nil,
      tokens: method == .gradientInput ? [0.5, -0.5, 0.25, 0.125, 0.25] : nil, baselineValue: 0.5,
      residual: 1e-7)
    return AttentionSample.measured(measured).json(definition).text() + "\n"
  }
  let skipped = AttentionSample.skipped(index: 2, id: "s2", reason: "too long").json(definition).text() + "\n"
  return [
    FuzzFile(
      "config.json", [UInt8](context.json.text(.indented).utf8),
      .json(
        words: configurationWords + [
          "contribution", "players", "removal", "keys", "window", "by_head", "steps", "baseline", "target",
          "piece", "shapley", "knockout", "value-norm", "grad-input", "ig", "blank", "others", "last",
          "question",
        ])),
    FuzzFile(
      "samples.jsonl", [UInt8]((lines.joined() + skipped).utf8),
      .jsonLines(
        words: recordWords + [
          "contribution", "target", "effect", "magnitude", "cells", "heads", "baseline_value", "residual",
          "is_prediction", "probability", "value",
        ])),
  ]
}

/// The run with its samples or its configuration changed as text.
private func wholeRun(replacing old: String, with new: String, in file: Int) -> [FuzzFile] {
  var files = wholeRun()
  if case .bytes(let bytes) = files[file].contents {
    files[file].contents = .bytes(
      [UInt8](String(decoding: bytes, as: UTF8.self).replacing(old, with: new, maxReplacements: 1).utf8))
  }
  return files
}

/// A run without samples that asks for as many tables as one may.
private let widestRun: [FuzzFile] = {
  var wide = context(samples: 4)
  (wide.model.layerCount, wide.model.headCount) = (1_024, 341)
  wide.definition.layers = Array(0..<1_024)
  wide.definition.heads = Array(0..<341)
  return runFiles("", wide, [])
}()

/// What a run folder holds, as `report` and `merge` read it.
private func stored(_ folder: String) throws -> AttentionMerge.Part {
  let place = RecordPlace(file: "\(folder)/config.json")
  let value: JSONValue
  do {
    value = try JSONValue(parsing: FuzzTarget.contents(place.file))
  } catch let error as JSONError {
    throw AttentionRecordError.notJSON(place: place, reason: error.errorDescription ?? "")
  }
  let samples = "\(folder)/samples.jsonl"
  let lines = try JSONLinesReader(URL(fileURLWithPath: samples)).remainingLines().map {
    (place: RecordPlace(file: samples, line: $0.number), value: $0.value)
  }
  return AttentionMerge.Part(
    path: folder, context: try AttentionContext(json: value, at: place), lines: lines)
}

extension FuzzTarget {
  /// A finished run, as far as its result, tables and report.
  static let run = FuzzTarget(
    "run", errors: [AttentionRecordError.self, JSONLinesError.self],
    seeds: [
      wholeRun(), contributionRun(.shapley(players: [.image, .question], removal: .blank)),
      contributionRun(.knockout(queries: [.last], keys: [.image], window: 1, byHead: true)),
      contributionRun(.valueNorm), contributionRun(.gradientInput),
    ],
    directed: [
      { _ in wholeRun([0, 1, 1]) }, { _ in wholeRun([0, 4]) }, { _ in wholeRun([]) },
      { _ in wholeRun(replacing: #""nonfinite""#, with: #""x":1,"nonfinite""#, in: 1) },
      { _ in wholeRun(replacing: "[0.5,", with: "[", in: 1) },
      { _ in wholeRun(replacing: "{", with: "", in: 0) },
      { random in
        wholeRun(
          replacing: random.pick([#""share":["#, #""entropy":["#, #""key_pieces":["#]), with: #""x":["#, in: 1
        )
      },
      { random in
        let number = random.pick(["9223372036854775807", "1e300", "-1", "null", "1e-300"])
        return wholeRun(replacing: random.pick(["0.5", "1.5", #"nonfinite":0"#]), with: number, in: 1)
      },
      { _ in
        // Two records at once, so that sums over samples meet their limits.
        var files = wholeRun()
        let line = String(decoding: sampleLines([0, 1]), as: UTF8.self)
        let text = line.replacing(#""nonfinite":0"#, with: #""nonfinite":9223372036854775807"#)
          .replacing(#""query_count":2"#, with: #""query_count":9223372036854775807"#)
        files[1].contents = .bytes([UInt8](text.utf8))
        return files
      },
      { random in
        wholeRun(
          replacing: #""replicates": 20"#,
          with: #""replicates": \#(random.pick(["1000001", "0", "-1", "1"]))"#, in: 0)
      },
    ],
    large: [
      { _ in widestRun },
      { _ in
        var wide = context(samples: 4)
        (wide.model.layerCount, wide.model.headCount) = (1_024, 30)
        (wide.definition.layers, wide.definition.heads) = (Array(0..<1_024), Array(0..<30))
        wide.definition.queries = .last
        wide.definition.groups[2].roles = [.question]
        wide.definition.contribution = ContributionDefinition(
          method: .knockout(queries: [.last], keys: [.image], window: 1, byHead: true))
        return runFiles("", wide, [])
      },
      { _ in
        // As long a line as is accepted.
        var files = wholeRun()
        let line = #"{"index":0,"id":""# + String(repeating: "x", count: 1 << 24 - 40) + "\"}\n"
        files[1].contents = .bytes([UInt8](line.utf8))
        return files
      },
      { _ in
        var files = wholeRun()
        files[1].contents = .sparse([], count: (1 << 24) + 2)
        return files
      },
    ],
    read: { folder in
      let part = try stored(folder)
      let samples = try AttentionSamples(lines: part.lines, context: part.context)
      // A million resampled data sets are legal and slow.
      guard part.context.definition.interval.replicates <= 5_000 else { return }
      let summary = AttentionSummary(part.context, samples)
      _ = try JSONValue(parsing: summary.json.text(.indented))
      _ = AttentionTables(summary, samples).files
      _ = AttentionReport(summary, samples).html
      _ = summary.terminalText
      _ = try AttentionMoments(samples.records, part.context.definition).arrays()
    })

  /// The parts of a run, joined.
  static let merge = FuzzTarget(
    "merge", errors: [AttentionMergeError.self], seeds: [parts()],
    directed: [
      { _ in [] }, { _ in parts([0, 2], [3]) }, { _ in parts([0, 1, 2], [3]) },
      { _ in parts([0, 2], [1, 3, 0]) },
      { _ in Array(parts().prefix(2)) },
      { random in
        var files = parts()
        let other = random.pick([context(samples: 5, shard: .init(index: 1, count: 2)), context(samples: 4)])
        files[2].contents = .bytes([UInt8](other.json.text().utf8))
        return files
      },
    ],
    read: { folder in
      let names = ["a", "b"].filter { FileManager.default.fileExists(atPath: "\(folder)/\($0)") }
      let merge = try AttentionMerge(names.map { try stored("\(folder)/\($0)") })
      guard merge.lines.count == merge.context.data.sampleCount else {
        throw FuzzFailure(message: "a merged run does not have every sample")
      }
    })

  private static func parts(_ first: [Int] = [0, 2], _ second: [Int] = [1, 3]) -> [FuzzFile] {
    runFiles("a/", context(samples: 4, shard: .init(index: 0, count: 2)), first)
      + runFiles("b/", context(samples: 4, shard: .init(index: 1, count: 2)), second)
  }
}

private let resumableRun =
  #"{"schema":"mmprobe.run/v1","status":"stopped","version":"0.1.0","argv":["mmprobe"],"host":"h","pid":7,"threads":2,"#
  + #""started":"2026-11-21T09:46:52Z","finished":null,"resumed":3,"files":["config.json","samples.jsonl"]}"#

/// A run folder to be opened again in `mode`, and a file beside it that is none of its business.
private func resumable(
  mode: String = "resume", without missing: [String] = [], record: String = resumableRun
) -> [FuzzFile] {
  let files =
    [FuzzFile("run/run.json", [UInt8](record.utf8), .json(words: runWords))]
    + runFiles("run/", context(samples: 4), [0, 1])
  return files.filter { !missing.contains($0.name) } + [
    FuzzFile("mode.json", [UInt8](#""\#(mode)""#.utf8), .json(words: ["fresh", "resume", "overwrite"])),
    FuzzFile("other.txt", [UInt8]("keep".utf8), .binary(headerCount: 0)),
  ]
}

private let runWords = [
  "schema", "mmprobe.run/v1", "status", "running", "complete", "stopped", "version", "argv", "host", "pid",
  "threads",
  "started", "finished", "resumed", "files", "config.json", "samples.jsonl", "run.json", "../other.txt", "..",
  ".", "",
  "/other.txt", "a/b", ".mmprobe-lock",
]

extension FuzzTarget {
  /// A run folder that is opened again: its notes, its configuration and a last line that may be torn.
  static let runFolder = FuzzTarget(
    "run-folder", errors: [RunFolderError.self], seeds: [resumable(), resumable(mode: "overwrite")],
    directed: [
      { _ in resumable(mode: "fresh") },
      { random in resumable(without: [random.pick(["run/run.json", "run/config.json", "run/samples.jsonl"])])
      },
      { _ in resumable(without: ["run/run.json", "run/config.json", "run/samples.jsonl"]) },
      { _ in
        [FuzzFile("run", [1], .binary(headerCount: 1)), FuzzFile("mode.json", [], .binary(headerCount: 0))]
      },
      { _ in resumable() + [FuzzFile("held", [], .binary(headerCount: 0))] },
      { random in
        let names = random.pick([
          #""../other.txt""#, #""/other.txt","..","""#, #""run.json",".mmprobe-lock""#, "7,[]",
        ])
        return resumable(mode: "overwrite", record: resumableRun.replacing(#""config.json""#, with: names))
      },
      { random in
        var files = resumable()
        let lines = sampleLines([0, 1])
        files[2].contents = .bytes(Array(lines.prefix(random.below(lines.count))))
        return files
      },
    ],
    read: { folder in
      let word = try? JSONValue(parsing: contents("\(folder)/mode.json")).stringValue
      let mode = word.flatMap { RunFolder.Mode(rawValue: $0) } ?? .resume
      let configuration = context(samples: 4).json.objectValue ?? JSONObject()
      let hadOther = FileManager.default.fileExists(atPath: "\(folder)/other.txt")
      func open(_ mode: RunFolder.Mode) throws -> RunFolder {
        try RunFolder(
          at: URL(fileURLWithPath: "\(folder)/run"), mode: mode, configuration: configuration,
          facts: .init(version: "0.1.0", arguments: [], threads: 1))
      }
      func use(_ mode: RunFolder.Mode) throws {
        let run = try open(mode)
        if FileManager.default.fileExists(atPath: "\(folder)/held") { _ = try open(.resume) }
        var count = 0
        try run.forEachRecord(of: "samples.jsonl") { _ in count += 1 }
        let writer = try run.appendingRecords(to: "samples.jsonl")
        try writer.append(["index": .integer(count)])
        try writer.sync()
        try run.finish(.stopped)
      }
      try use(mode)
      // What was opened once and stopped can be gone on with, whatever its files held before.
      do {
        try use(.resume)
      } catch {
        throw FuzzFailure(message: "a stopped run does not go on: \(error.localizedDescription)")
      }
      if hadOther, !FileManager.default.fileExists(atPath: "\(folder)/other.txt") {
        throw FuzzFailure(message: "a file outside of the run folder is gone")
      }
    })
}
