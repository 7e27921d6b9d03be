import Analysis
import Foundation
import RunKit
import TensorCore
import TokenModel

private let dataWords = [
  "t", "q", "y", "i", "u", "h", "r", "id", "text", "image", "audio", "video", "answer", "conversations",
  "from",
  "value", "human", "user", "gpt", "assistant", "system", "tags", "type", "hint", "category", "media/0",
  "media/9",
  "../media/0", "/dev/zero", "..", "a.pgm", "<image>", "<audio>", "<video>", "<image>\nab", "",
]

/// Media as rows: three images and two sounds.
private func table(_ name: String, image: [Int] = [3, 1, 2, 2], audio: [Int] = [2, 1, 2, 4]) -> FuzzFile {
  let entries = [("image", image), ("audio", audio)].map { name, shape in
    CheckpointBytes.Entry(
      name, .u8, shape, bytes: (0..<shape.reduce(1, *)).map { UInt8(truncatingIfNeeded: 37 * $0) })
  }
  return FuzzFile(
    name, CheckpointBytes.safetensors(entries),
    .safetensors(words: ["image", "audio", "dtype", "shape", "data_offsets", "U8", "I8"]))
}

/// Data, its media, and the number of an item that is asked for at the end.
private func dataFolder(
  _ text: String, lines: Bool = true, item: Int = 0, media: FuzzFile = table("data.safetensors")
) -> [FuzzFile] {
  [
    FuzzFile(
      "data.jsonl", [UInt8](text.utf8), lines ? .jsonLines(words: dataWords) : .json(words: dataWords)),
    media, FuzzFile("a.pgm", [UInt8]("P5 2 2 255\n1234".utf8), .binary(headerCount: 11)),
    FuzzFile("item.json", [UInt8]("\(item)".utf8), .json(words: ["a"])),
  ]
}

private let questions =
  #"{"t":"sum","q":"ab 1?","y":"2","i":0,"u":1}"# + "\n"
  + #"{"t":"same","q":"a","y":"3","i":2,"h":"b","r":1}"# + "\n"
  + #"{"q":"abc","y":"1","id":7}"# + "\n"

private let conversations =
  #"[{"id":"a","image":"media/0","conversations":[{"from":"human","value":"<image>\na b"},{"from":"gpt","value":"1"}]},"#
  + #"{"id":"b","audio":["media/1"],"conversations":[{"from":"user","value":"<audio>c"},{"from":"assistant","value":"d"},"#
  + #"{"from":"human","value":"1?"},{"from":"gpt","value":"2"}],"type":"x","tags":{"k":"v"}}]"#

private let records =
  #"{"id":"a","text":"ab","answer":"1","image":"a.pgm"}"# + "\n\n"
  + #"{"text":"c","answer":"d","hint":"h","tags":{"k":"v"}}"#
  + "\r\n"

/// One conversation with these turns.
private func conversation(_ turns: [(from: String, value: String)], more: String = "") -> [FuzzFile] {
  let list = turns.map { #"{"from":"\#($0.from)","value":"\#($0.value)"}"# }.joined(separator: ",")
  return dataFolder(
    #"[{"id":"a"\#(more),"conversations":[\#(list)]}]"#, lines: false, media: table("media.safetensors"))
}

private let definition = AttentionDefinition(queries: .answer, layers: [0], heads: [0, 1], sinks: .auto)

/// Measures a sample and checks that its record is read as it was written: resuming rests on it.
private func measure(_ sample: Sample, with checkpoint: Checkpoint) throws {
  let record = try AttentionProbe(checkpoint, definition: definition).record(of: sample, keepsKeys: true)
  let written = AttentionSample.measured(record).json(definition).text()
  let place = RecordPlace(file: "samples.jsonl", line: 1)
  let read = try AttentionSample(json: JSONValue(parsing: written), definition: definition, at: place)
  guard read.json(definition).text() == written else {
    throw FuzzFailure(message: "written and read again, the record is another")
  }
}

extension FuzzTarget {
  /// A data file in each of its forms, with media rows, as far as prompts and records of a model.
  static let dataSet = FuzzTarget(
    "data", errors: [DataSetError.self, PromptError.self, ProbeError.self, EvaluationError.self],
    seeds: [
      dataFolder(questions), dataFolder(conversations, lines: false, media: table("media.safetensors")),
      dataFolder(records),
    ],
    directed: each([3, -1, .max]) { dataFolder(questions, item: $0) }
      + each([
        #"{"a":1}"#, "[]", "", " \n", "7", #"{"q":"#, #"[{"q":"a"},]"#, "[{}]x", "[{}",
        #"{"q":"a"}"# + "\n7\n",
      ]) {
        dataFolder($0)
      } + each([3, -1, .max, .min]) { dataFolder(#"{"q":"a","i":\#($0)}"#) }
      + each(["x.safetensors", "data"]) { dataFolder(#"{"q":"a","y":"b","i":0}"#, media: table($0)) }
      + each([[12], [1, 1, 3, 4], [3, 2, 2], [0, 1, 2, 2], [12, 1]]) { shape in
        dataFolder(#"{"q":"a","y":"b","i":0}"#, media: table("data.safetensors", image: shape))
      } + each([#","i":1"#, #","u":0"#, "", #","i":"x""#, #","t":1"#]) { dataFolder(#"{"q":"a"\#($0)}"#) }
      + each([
        #"{"q":1}"#, #"{"t":"a","y":"b"}"#, #"{"q":"a","y":"b"}"# + "\n{}",
        #"{"q":"a","y":"b"}"# + "\n" + #"{"q":"a"}"#,
      ]) { dataFolder($0) }
      + each(["bot", "", "Human"]) { conversation([($0, "a")]) }
      + each([[], ["gpt"], ["human", "gpt", "gpt"], ["system"], ["human", "human"]]) { speakers in
        conversation(speakers.map { ($0, "a") })
      }
      + each([
        "", #","image":"media/1""#, #","image":["media/1","media/2"]"#, #","video":"media/1""#,
        #","image":7"#,
      ]) {
        conversation([("human", "<image><image>a")], more: $0)
      }
      + each([
        "/etc/passwd", "../a.pgm", "b/../../a.pgm", "", ".", "a\\u0000b",
        String(repeating: "x", count: 2_000),
      ]) {
        dataFolder(#"{"text":"<image>a","answer":"b","image":"\#($0)"}"#)
      } + [
        { _ in dataFolder(#"{"text":"<video>a","answer":"b","video":"a.pgm"}"#) },
        { random in
          let key = random.pick(["image", "audio", "video"])
          return dataFolder(#"{"text":"<\#(key)>a","answer":"b","\#(key)":"a.pgm"}"#)
        },
        { _ in dataFolder(questions) + [FuzzFile("no-tokenizer", [], .binary(headerCount: 0))] },
      ],
    large: [
      { _ in dataFolder(#"{"text":"\#(String(repeating: "c", count: 1 << 18))"}"#) },
      { _ in
        // A row of 64 MiB and a byte, which occupies no space.
        let count = 1 << 26 + 1
        let header = [UInt8](
          #"{"image":{"dtype":"U8","shape":[1,\#(count)],"data_offsets":[0,\#(count)]}}"#.utf8)
        var file = table("data.safetensors")
        file.contents = .sparse(
          FuzzLayout.lengthField(header.count) + header, count: 8 + header.count + count)
        return dataFolder(#"{"q":"a","y":"b","i":0}"#, media: file)
      },
      { random in
        // Files of records without end: one that is too long, too many, and one of zeros.
        let start = random.pick(["", "[", "{\"q\":\"", "[\"", "\n"])
        var files = dataFolder("")
        files[0].contents = .sparse([UInt8](start.utf8), count: 1 << random.pick([25, 30, 40]))
        return files
      },
      { random in
        var files = dataFolder("")
        files[0].contents = .bytes(
          [UInt8](#"{"q":"a"}"#.utf8) + [UInt8](repeating: random.pick([0x0A, 0x5B, 0x20]), count: 1 << 25))
        return files
      },
    ],
    read: { folder in
      let lacksTokenizer = FileManager.default.fileExists(atPath: "\(folder)/no-tokenizer")
      let checkpoint = try (lacksTokenizer ? modelWithoutTokenizer : model).get()
      let data = try DataSet(URL(fileURLWithPath: "\(folder)/data.jsonl"))
      for index in 0..<min(data.count, 4) {
        let sample = try data.sample(at: index, for: checkpoint.model)
        let prompt = try checkpoint.prompt(for: sample, includesAnswer: true)
        // A text of 100,000 letters is no test of a reader.
        guard prompt.count <= 256 else { continue }
        if index.isMultiple(of: 2) {
          try measure(sample, with: checkpoint)
        } else {
          _ = try Evaluator(checkpoint, EvaluationDefinition(answerLimit: 2)).records(for: [sample])
        }
      }
      if let item = try JSONValue(parsing: contents("\(folder)/item.json")).intValue {
        _ = try data.sample(at: item, for: checkpoint.model)
      }
    })
}
