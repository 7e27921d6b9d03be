import Foundation
import RunKit
import TokenModel

private let settingsWords = [
  "tokenizer_class", "LlamaTokenizer", "LlamaTokenizerFast", "add_bos_token", "add_eos_token",
  "add_prefix_space",
  "legacy", "added_tokens_decoder", "content", "special", "lstrip", "rstrip", "single_word", "normalized",
  "bos_token",
  "eos_token", "pad_token", "unk_token", "additional_special_tokens", "extra_special_tokens", "chat_template",
  "name",
  "default", "template", "26", "1", "<s>", "</s>", "<pad>", "<image>", "ab", "▁a",
]

private let settings =
  #"{"tokenizer_class":"LlamaTokenizer","add_bos_token":true,"add_eos_token":true,"legacy":false,"#
  + #""added_tokens_decoder":{"1":{"content":"<s>","special":true},"26":{"content":"<pad>","lstrip":true,"#
  + #""rstrip":true,"single_word":false,"special":true}},"bos_token":"<s>","eos_token":{"content":"</s>"},"#
  + #""pad_token":"<pad>","unk_token":null,"additional_special_tokens":["<image>"],"#
  + #""chat_template":[{"name":"default","template":"{{ messages }}"}]}"#

/// A tokenizer folder with a text to encode and ids to decode.
///
/// The whole model is structure: pieces, lengths and settings.
private func folder(
  model: [UInt8] = CheckpointBytes.tokenizer(), settings text: String = settings,
  added: String = #"{"<pad>":26,"<more>":27}"#, ids: String = "[1, 8, 9, 26, 2]",
  text content: String = "ab x<s>a é"
) -> [FuzzFile] {
  [
    FuzzFile("tokenizer.model", model, .binary(headerCount: model.count)),
    FuzzFile("tokenizer_config.json", [UInt8](text.utf8), .json(words: settingsWords)),
    FuzzFile("added_tokens.json", [UInt8](added.utf8), .json(words: settingsWords)),
    FuzzFile("special_tokens_map.json", [UInt8](#"{"bos_token":"<s>"}"#.utf8), .json(words: settingsWords)),
    FuzzFile("ids.json", [UInt8](ids.utf8), .json(words: ["1"])),
    FuzzFile("text.txt", [UInt8](content.utf8), .binary(headerCount: content.utf8.count)),
  ]
}

private func folder(more: [UInt8]) -> [FuzzFile] { folder(model: CheckpointBytes.tokenizer(more: more)) }

private func folder(characterMap: [UInt8]) -> [FuzzFile] {
  folder(model: CheckpointBytes.tokenizer(characterMap: characterMap))
}

/// A text of this many bytes, which occupy no space on the disk.
private func folder(textCount: Int) -> [FuzzFile] {
  var files = folder()
  files[5].contents = .sparse([], count: textCount)
  return files
}

extension FuzzTarget {
  /// A tokenizer folder, a text to encode and ids to decode.
  static let tokenizer = FuzzTarget(
    "tokenizer", errors: [TokenizerError.self],
    seeds: [
      folder(), folder(model: CheckpointBytes.tokenizer(modelType: 2)),
      folder(characterMap: CheckpointBytes.characterMap()),
      folder(
        settings: #"{"add_prefix_space":false,"extra_special_tokens":{"a":"<image>"}}"#, added: "{}",
        ids: "[3, 10]"),
    ],
    directed: [
      { random in
        let id = random.pick([-1, 28, 1 << 24, .max, .min])
        return folder(ids: "[1, \(id)]")
      },
      { _ in folder(textCount: (1 << 20) + 1) },
      { random in folder(textCount: 1 << random.pick([10, 16, 20])) },
      { random in
        folder(added: random.pick([#"{"<x>":3}"#, #"{"<x>":26}"#, #"{"<x>":27,"<y>":27}"#, #"{"":27}"#]))
      },
      { random in
        folder(
          settings: random.pick([#"{"pad_token":"<none>"}"#, #"{"additional_special_tokens":["<none>"]}"#]))
      },
      { _ in folder(model: CheckpointBytes.trainerSettings(modelType: 1)) },
      { random in
        let pieces = random.pick([
          CheckpointBytes.piece("a".utf8), CheckpointBytes.piece("<unk2>".utf8, kind: 2),
          CheckpointBytes.piece("<0x41>".utf8, kind: 6),
          CheckpointBytes.field(2, CheckpointBytes.field(35, 1)),
          (1...65).flatMap { CheckpointBytes.piece([UInt8](repeating: 0x75, count: $0), kind: 4) },
        ])
        return folder(more: pieces)
      },
      { random in
        let pieces = random.pick([
          CheckpointBytes.piece("z".utf8, score: .nan), CheckpointBytes.piece([0xFF]),
          CheckpointBytes.piece([]),
          CheckpointBytes.piece("z".utf8, kind: 7), CheckpointBytes.piece([0x7A, 0, 0x7A]), [0x0A, 0x7F],
          [0x0B],
          CheckpointBytes.piece([UInt8](repeating: 0x7A, count: 4_097)),
        ])
        return folder(more: pieces)
      },
      { random in
        // A path that returns to the root, children or a text outside, and a text without an end.
        let map = random.pick([
          CheckpointBytes.characterMap(unit: UInt32(UInt8(ascii: "x")) << 10 | UInt32(UInt8(ascii: "x"))),
          CheckpointBytes.characterMap(unit: 1_000_000 << 10 | UInt32(UInt8(ascii: "x"))),
          CheckpointBytes.characterMap(leaf: 1 << 31 | 99), CheckpointBytes.characterMap(texts: [0x61]),
        ])
        return folder(characterMap: map)
      },
      { random in
        var map = CheckpointBytes.characterMap()
        for _ in 0...random.below(3) { map[random.below(map.count)] = random.byte() }
        return folder(characterMap: map)
      },
    ],
    read: { folder in
      let tokenizer = try SentencePieceTokenizer(folder: URL(fileURLWithPath: folder))
      let text = String(decoding: try contents("\(folder)/text.txt"), as: UTF8.self)
      let ids = try tokenizer.encode(text, addingSpecialTokens: true)
      guard ids.allSatisfy({ 0..<tokenizer.vocabularySize ~= $0 }) else {
        throw FuzzFailure(message: "a text has ids outside the vocabulary")
      }
      _ = try tokenizer.decode(ids)
      let given =
        try JSONValue(parsing: contents("\(folder)/ids.json")).arrayValue?.compactMap(\.intValue) ?? []
      for id in given { if let piece = tokenizer.piece(id) { _ = tokenizer.id(of: piece) } }
      _ = try tokenizer.decode(given, skippingSpecialTokens: false)
    })
}
