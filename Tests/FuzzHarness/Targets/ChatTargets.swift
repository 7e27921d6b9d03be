import Foundation
import RunKit
import TokenModel

private let words = [
  "type", "BPE", "Unigram", "vocab", "merges", "added_tokens", "id", "content", "special", "lstrip", "rstrip",
  "single_word", "normalized", "normalizer", "pre_tokenizer", "post_processor", "decoder", "NFC", "Prepend",
  "prepend",
  "Replace", "pattern", "String", "Regex", "Sequence", "normalizers", "pretokenizers", "processors",
  "decoders", "Split",
  "behavior", "Isolated", "Removed", "MergedWithNext", "MergedWithPrevious", "Contiguous", "invert",
  "ByteLevel",
  "add_prefix_space", "use_regex", "Metaspace", "replacement", "prepend_scheme", "first", "always", "never",
  "split",
  "Digits", "individual_digits", "TemplateProcessing", "single", "SpecialToken", "special_tokens", "ids",
  "tokens",
  "ByteFallback", "Fuse", "Strip", "start", "stop", "byte_fallback", "fuse_unk", "unk_token", "ignore_merges",
  "dropout", "a", "b", "ab", "Ġ", "▁", "<s>", "<0x61>", " ",
]

private let qwenPattern =
  #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"#
  + #"\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"#

/// A byte-level file with a pattern, digits, added tokens and a template.
private let byteLevel =
  #"{"added_tokens":[{"id":6,"content":"<s>","special":true,"normalized":false},{"id":7,"content":"ü","lstrip":true,"#
  + #""rstrip":true,"single_word":true,"normalized":true}],"normalizer":{"type":"NFC"},"#
  + #""pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":""# + qwenPattern
  + #""},"behavior":"Isolated","invert":false},{"type":"Digits","individual_digits":true},"#
  + #"{"type":"ByteLevel","add_prefix_space":true,"use_regex":true}]},"#
  + #""post_processor":{"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"TemplateProcessing","single":"#
  + #"[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"special_tokens":{"<s>":"#
  + #"{"id":"<s>","ids":[6],"tokens":["<s>"]}}}]},"decoder":{"type":"ByteLevel"},"#
  + #""model":{"type":"BPE","ignore_merges":true,"unk_token":"a","vocab":{"a":0,"b":1,"ab":2,"Ġ":3,"Ġab":4,"x":5},"#
  + #""merges":["a b",["Ġ","ab"]]}}"#

/// A file in the style of LLaMA, with bytes for what is not in the vocabulary.
private let metaspace =
  #"{"added_tokens":[{"id":0,"content":"<unk>","special":true}],"normalizer":{"type":"Sequence","normalizers":"#
  + #"[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},"pre_tokenizer":"#
  + #"{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":true},"decoder":{"type":"Sequence","decoders":"#
  + #"[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","#
  + #""content":" ","start":1,"stop":0}]},"model":{"type":"BPE","byte_fallback":true,"fuse_unk":true,"unk_token":"<unk>","#
  + #""vocab":{"<unk>":0,"a":1,"b":2,"ab":3,"▁":4,"▁ab":5,"<0x61>":6,"<0xC3>":7,"<0xBC>":8},"merges":["a b","▁ ab"]}}"#

private func folder(
  _ tokenizer: String, settings: String = #"{"bos_token":"<s>","chat_template":"{{ messages }}"}"#,
  text: String = "ab xü 12 \u{65}\u{301} don't\n\n a b"
) -> [FuzzFile] {
  [
    FuzzFile("tokenizer.json", [UInt8](tokenizer.utf8), .json(words: words)),
    FuzzFile("tokenizer_config.json", [UInt8](settings.utf8), .json(words: words)),
    FuzzFile("text.txt", [UInt8](text.utf8), .binary(headerCount: text.utf8.count)),
  ]
}

/// The layout of two files without `tokenizer.json`.
private func pair(className: String) -> [FuzzFile] {
  [
    FuzzFile("vocab.json", [UInt8](#"{"a":0,"b":1,"ab":2,"Ġ":3}"#.utf8), .json(words: words)),
    FuzzFile("merges.txt", [UInt8]("#version: 0.2\na b\n".utf8), .binary(headerCount: 18)),
    FuzzFile(
      "tokenizer_config.json", [UInt8](#"{"tokenizer_class":"\#(className)"}"#.utf8), .json(words: words)),
    FuzzFile("text.txt", [UInt8]("ab a b".utf8), .binary(headerCount: 6)),
  ]
}

private func plainFolder(_ vocabulary: String, _ merges: String) -> [FuzzFile] {
  folder(#"{"model":{"type":"BPE","vocab":\#(vocabulary),"merges":\#(merges)}}"#, settings: "{}")
}

extension FuzzTarget {
  /// A folder with a `tokenizer.json`, or with `vocab.json` and `merges.txt`, and a text.
  static let bytePairTokenizer = FuzzTarget(
    "byte_pair_tokenizer", errors: [TokenizerError.self],
    seeds: [folder(byteLevel), folder(metaspace, settings: "{}"), pair(className: "Qwen2Tokenizer")],
    directed: [
      { _ in plainFolder(#"{"a":0,"b":0}"#, "[]") }, { _ in plainFolder(#"{"a":0}"#, #"["a b"]"#) },
      { _ in plainFolder(#"{"a":0}"#, #"["a"]"#) }, { _ in plainFolder(#"{"a":1048576}"#, "[]") },
      { _ in pair(className: "BertTokenizer") }, { _ in pair(className: "GPT2Tokenizer") },
      { _ in folder(byteLevel.replacing("p{N}|", with: "p{N}+|")) },
      { _ in folder(metaspace, settings: #"{"pad_token":"<p>","additional_special_tokens":["<q>"]}"#) },
    ],
    large: [
      { _ in folder(byteLevel, text: String(repeating: "ab", count: 300_000)) },
      { _ in folder(metaspace, text: String(repeating: "ab ü", count: 100_000)) },
      { _ in folder(byteLevel, text: String(repeating: " \u{301}", count: 100_000)) },
    ],
    read: { folder in
      let tokenizer = try BytePairTokenizer(folder: URL(fileURLWithPath: folder))
      let text = String(decoding: try contents("\(folder)/text.txt"), as: UTF8.self)
      let ids = try tokenizer.encode(text, addingSpecialTokens: true)
      guard ids.allSatisfy({ 0..<tokenizer.vocabularySize ~= $0 }) else {
        throw FuzzFailure(message: "a text has ids outside the vocabulary")
      }
      let places = try tokenizer.encodePlaces(text)
      guard places.map(\.id) == (try tokenizer.encode(text)) else {
        throw FuzzFailure(message: "a text has other ids with places")
      }
      guard places.allSatisfy({ $0.place.lowerBound >= 0 && $0.place.upperBound <= text.utf8.count }) else {
        throw FuzzFailure(message: "a piece has a place outside the text")
      }
      _ = try tokenizer.decode(ids)
    })

  private static let templates = [
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}a{% elif m.content is string %}b{% else %}c"
      + "{% endif %}{{ m['role'] ~ m['content'] | trim }}{% endfor %}{% if add_generation_prompt %}x{% endif %}",
    "{%- set ns = namespace(n=0) -%}{% macro f(a, b=1) %}{{ a[1:-1] }}{% endmacro %}{% for i in range(3) if i is odd %}"
      + "{% set ns.n = ns.n + i * 2 // 1 % 7 %}{{ f('abc') }}{% break %}{% else %}{{- ns.n -}}{% endfor %}",
    "{{ messages | selectattr('role', 'eq', 'user') | map(attribute='content') | join(', ') }}{# c #}"
      + "{{ {'a': [1, 2.5, none]} | tojson(indent=2) }}{% raw %}{{ }}{% endraw %}{% filter upper %}x{% endfilter %}",
    "{{ messages[0].content.split(' ')[-1].replace('a', 'b', 1) if messages else raise_exception('no') }}"
      + "{% set x %}{% generation %}y{% endgeneration %}{% endset %}{% with z = x|default('d', true) %}{{ z }}{% endwith %}",
    "{{ messages | sort(attribute='role', reverse=true) | list | length }}{{ 'x\\u00e9\\n' ~ (1, 2) ~ [none, true] }}"
      + "{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{{ loop.cycle(1, 2) }}{% continue %}{% endfor %}",
  ]

  private static let growing =
    "{% set ns = namespace(x='ab') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"

  /// A chat template, carried out over a conversation.
  static let chatTemplate = FuzzTarget(
    "chat_template", file: "chat_template.jinja", layout: .binary { [0..<$0.count] },
    errors: [ChatTemplateError.self], seeds: templates.map { [UInt8]($0.utf8) },
    directed: [
      "{{ 1 + }}", "{% include 'x' %}", "{{ raise_exception('no') }}", "{{ messages + 1 }}", growing,
      "{{ " + String(repeating: "(", count: 100_000), "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      String(repeating: "{% if 1 %}", count: 20_000),
      "{{ x" + String(repeating: ".x", count: 100_000) + " }}",
      "{% set ns = namespace() %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}",
      "{% set ns = namespace() %}{% for i in range(9999) %}{% macro m() %}{{ ns }}{% endmacro %}{% set ns.m = m %}{% endfor %}",
      "{{ 9223372036854775807 + 1 }}", "{{ -9223372036854775807 - 2 }}", "{{ 'a'[9223372036854775807:] }}",
      "{{ 'abc'[::9223372036854775807] }}{{ 'abc'[::-9223372036854775807] }}",
      "{{ range(0, 9, 9223372036854775807) }}",
    ].map { [UInt8]($0.utf8) },
    large: [
      { [UInt8]("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}".utf8) },
      { [UInt8]("{% set x = 'ab' * 500000 %}{% for a in range(99999) %}{{ x.find('c') }}{% endfor %}".utf8) },
      { [UInt8]("{% for a in range(99999) %}{% set x = range(99999) %}{% endfor %}".utf8) },
      { [UInt8](String(repeating: "{{ messages }}", count: 18_000).utf8) },
    ],
    read: { path in
      let source = String(decoding: try contents(path), as: UTF8.self)
      let template = try ChatTemplate(path: "template", source: source)
      let prompt = try template.render(
        messages: [
          ChatMessage(speaker: .system, items: [.text("Be brief.")]),
          ChatMessage(speaker: .user, items: [.medium(.image), .text(" What is é? ")]),
        ], addsGenerationPrompt: true, variables: ["bos_token": "<s>"])
      guard prompt.stretches.last?.range.upperBound ?? 0 == prompt.text.utf8.count else {
        throw FuzzFailure(message: "the stretches do not cover the text")
      }
    })
}
