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

/// Pieces that the library refuses, and pieces and fields that it must not see.
private let refusedPieces: [[UInt8]] = [
  CheckpointBytes.piece("a".utf8), CheckpointBytes.piece("<unk2>".utf8, kind: 2),
  CheckpointBytes.piece("<0x41>".utf8, kind: 6), CheckpointBytes.field(2, CheckpointBytes.field(35, 1)),
  (1...65).flatMap { CheckpointBytes.piece([UInt8](repeating: 0x75, count: $0), kind: 4) },
  CheckpointBytes.piece("z".utf8, score: .nan), CheckpointBytes.piece([0xFF]), CheckpointBytes.piece([]),
  CheckpointBytes.piece("z".utf8, kind: 7), CheckpointBytes.piece([0x7A, 0, 0x7A]), [0x0A, 0x7F], [0x0B],
  CheckpointBytes.piece([UInt8](repeating: 0x7A, count: 4_097)),
]

/// A path that returns to the root, children and a text outside, and a text without an end.
private let characterMaps: [[UInt8]] = [
  CheckpointBytes.characterMap(unit: UInt32(UInt8(ascii: "x")) << 10 | UInt32(UInt8(ascii: "x"))),
  CheckpointBytes.characterMap(unit: 1_000_000 << 10 | UInt32(UInt8(ascii: "x"))),
  CheckpointBytes.characterMap(leaf: 1 << 31 | 99), CheckpointBytes.characterMap(texts: [0x61]),
]

/// A model with so many more pieces, which differ and have seven letters each.
private func folder(pieces count: Int) -> [FuzzFile] {
  var bytes: [UInt8] = []
  bytes.reserveCapacity(count * 18)
  for number in 0..<count {
    let letters = (0..<7).map { UInt8(ascii: "a") + UInt8(number >> (4 * $0) & 15) }
    bytes += [0x0A, 16, 0x0A, 7] + letters + [0x15, 0, 0, 0, 0, 0x18, 1]
  }
  return folder(
    model: CheckpointBytes.tokenizer(more: bytes), settings: #"{"legacy":false}"#, added: "{}", ids: "[3]")
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
    directed: each([-1, 28, 1 << 24, .max, .min]) { folder(ids: "[1, \($0)]") }
      + each([1 << 10, 1 << 18 + 1]) { folder(textCount: $0) }
      + each([#"{"<x>":3}"#, #"{"<x>":26}"#, #"{"<x>":27,"<y>":27}"#, #"{"":27}"#]) { folder(added: $0) }
      + each([#"{"pad_token":"<none>"}"#, #"{"additional_special_tokens":["<none>"]}"#]) {
        folder(settings: $0)
      }
      + each([CheckpointBytes.trainerSettings(modelType: 1), []]) { folder(model: $0) }
      + each(refusedPieces) { folder(more: $0) }
      + each(characterMaps) { folder(characterMap: $0) } + [
        { random in
          var map = CheckpointBytes.characterMap()
          for _ in 0...random.below(3) { map[random.below(map.count)] = random.byte() }
          return folder(characterMap: map)
        }
      ],
    large: [
      { _ in folder(textCount: 1 << 17) },
      { _ in folder(text: String(repeating: "ab ", count: 80_000)) },
      { _ in folder(pieces: SentencePieceTokenizer.pieceLimit - 100) },
      { _ in folder(pieces: SentencePieceTokenizer.pieceLimit) },
      { _ in
        let long = (0..<4_000).flatMap { number -> [UInt8] in
          let end = Array("\(number)".utf8)
          return CheckpointBytes.piece(
            [UInt8](repeating: UInt8(97 + number % 26), count: 4_096 - end.count) + end)
        }
        return folder(
          model: CheckpointBytes.tokenizer(more: long), settings: #"{"legacy":false}"#, added: "{}",
          ids: "[3]")
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
