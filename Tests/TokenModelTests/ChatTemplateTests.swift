import Foundation
import RunKit
import TestSupport
import XCTest

@testable import TokenModel

/// What `render_jinja_template` of transformers 5.23.0 gave for the templates of the families; everything is text, so
/// everything must be equal.
final class ChatTemplateTests: XCTestCase {
  private func fixture() throws -> JSONValue { try Fixtures.json("chat_templates/cases.json") }

  /// The outcome of a template, or the error it ends with.
  private func outcome(
    _ source: String, _ conversation: JSONValue, generation: Bool = false, variables: JSONObject? = nil
  ) -> Result<String, ChatTemplateError> {
    Result { () throws(ChatTemplateError) -> String in
      var names: [String: JSONValue] = [:]
      for (name, value) in variables?.members ?? [] { names[name] = value }
      let template = try ChatTemplate(path: "template", source: source)
      return try template.render(
        document: conversation, addsGenerationPrompt: generation, variables: names
      ).text
    }
  }

  /// Compares with a row: its text, or its error.
  private func compare(
    _ found: Result<String, ChatTemplateError>, with row: JSONValue, _ label: String, line: UInt = #line
  ) {
    switch found {
    case .success(let text):
      XCTAssertEqual(
        Array(text.utf8), row["expected"]?.stringValue.map { Array($0.utf8) },
        "\(label): \(text.debugDescription), expected \(row["expected"]?.stringValue?.debugDescription ?? "an error")",
        line: line)
    case .failure(let error):
      XCTAssertNil(row["expected"], "\(label): \(error)", line: line)
      if row["error"] == "TemplateError" {
        XCTAssertEqual(error, .raised(path: "template", message: row["message"]?.stringValue ?? ""), label)
      } else {
        XCTAssertTrue([.failed, .unsupported].contains(error.code), "\(label): \(error)", line: line)
      }
    }
  }

  func testTemplatesOfTheFamiliesGiveTheTextOfTransformers() throws {
    let fixture = try fixture()
    var (texts, errors): ([String: Int], Int) = ([:], 0)
    for row in try XCTUnwrap(fixture["rows"]?.arrayValue) {
      let name = try XCTUnwrap(row["template"]?.stringValue)
      let conversation = try XCTUnwrap(row["conversation"]?.stringValue)
      var variables = try XCTUnwrap(row["variables"]?.objectValue)
      if let tools = row["tools"] { variables["tools"] = tools }
      let found = outcome(
        try XCTUnwrap(fixture["templates"]?[name]?.stringValue),
        try XCTUnwrap(fixture["conversations"]?[conversation]),
        generation: try XCTUnwrap(row["add_generation_prompt"]?.boolValue), variables: variables)
      compare(found, with: row, "\(name), \(conversation), \(variables.keys)")
      if row["expected"] != nil { texts[name, default: 0] += 1 } else { errors += 1 }
    }
    for (name, count) in texts.sorted(by: { $0.key < $1.key }) {
      print("chat template \(name): \(count) conversations exact")
    }
    print("chat templates: \(texts.values.reduce(0, +)) texts and \(errors) errors compared")
    XCTAssertEqual(texts.count, 21)
    XCTAssertEqual(texts.values.reduce(0, +), 1067)
    XCTAssertEqual(errors, 240)
  }

  func testExpressionsHaveTheValuesOfJinja() throws {
    let fixture = try fixture()
    let conversation = try XCTUnwrap(fixture["conversations"]?["system"])
    let rows = try XCTUnwrap(fixture["expressions"]?.arrayValue)
    for row in rows {
      let expression = try XCTUnwrap(row["expression"]?.stringValue)
      compare(outcome("{{ \(expression) }}", conversation), with: row, expression)
    }
    print("chat templates: \(rows.count) expressions compared")
    XCTAssertEqual(rows.count, 250)
  }

  func testWhiteSpaceIsControlledAsTransformersSetsJinja() throws {
    let fixture = try fixture()
    let conversation = try XCTUnwrap(fixture["conversations"]?["one"])
    let rows = try XCTUnwrap(fixture["whitespace"]?.arrayValue)
    for row in rows {
      let source = try XCTUnwrap(row["template"]?.stringValue)
      compare(outcome(source, conversation), with: row, source.debugDescription)
    }
    XCTAssertEqual(rows.count, 24)
  }

  // MARK: - Origins

  /// What each speaker says is written in an alphabet of its own, which no template uses: every letter must have the role
  /// of its alphabet, and everything else that of the template.
  func testEveryCharacterKnowsWhoSaidIt() throws {
    let templates = try XCTUnwrap(try fixture()["templates"]?.objectValue)
    let conversation: JSONValue = [
      ["role": "system", "content": " Σύστημα "],
      ["role": "user", "content": "  Привет, мир? "],
      ["role": "assistant", "content": "שלום עולם"],
      ["role": "user", "content": "Ещё раз"],
    ]
    let items = JSONValue.array(
      (conversation.arrayValue ?? []).map { message in
        [
          "role": message["role"] ?? .null,
          "content": [["type": "image"], ["type": "text", "text": message["content"] ?? .null]],
        ]
      })
    var count = 0
    for (name, source) in templates.members {
      for messages in [conversation, items, .array(Array((items.arrayValue ?? []).dropFirst()))] {
        let template = try ChatTemplate(path: name, source: try XCTUnwrap(source.stringValue))
        guard
          let prompt = try? template.render(
            document: messages, addsGenerationPrompt: true,
            variables: ["bos_token": "<s>", "eos_token": "</s>"])
        else { continue }
        let bytes = Array(prompt.text.utf8)
        var end = 0
        for stretch in prompt.stretches {
          XCTAssertEqual(stretch.range.lowerBound, end)
          end = stretch.range.upperBound
          for scalar in String(decoding: bytes[stretch.range], as: UTF8.self).unicodeScalars {
            switch scalar.value {
            case 0x370...0x3FF: XCTAssertEqual(stretch.role, .system, "\(name) \(scalar)")
            case 0x400...0x4FF: XCTAssertEqual(stretch.role, .question, "\(name) \(scalar)")
            case 0x590...0x5FF: XCTAssertEqual(stretch.role, .response, "\(name) \(scalar)")
            case _ where scalar.properties.isAlphabetic:
              XCTAssertEqual(stretch.role, .instruction, "\(name) \(scalar)")
            default: break
            }
          }
        }
        XCTAssertEqual(end, bytes.count)
        count += 1
      }
    }
    XCTAssertGreaterThan(count, 30)
  }

  func testOriginsLastThroughAllChangesOfAText() throws {
    func stretches(_ source: String) throws -> [String] {
      let messages = [ChatMessage(speaker: .user, items: [.text(" Abc dE ")])]
      let prompt = try ChatTemplate(path: "t", source: source).render(
        messages: messages, addsGenerationPrompt: false)
      let bytes = Array(prompt.text.utf8)
      return prompt.stretches.map {
        "\($0.role.rawValue):" + String(decoding: bytes[$0.range], as: UTF8.self)
      }
    }
    let text = "messages[0].content"
    XCTAssertEqual(
      try stretches("x{{ \(text).strip() + 'y' }}"), ["instruction:x", "question:Abc dE", "instruction:y"])
    XCTAssertEqual(
      try stretches("{{ \(text)[1:3] ~ '-' ~ \(text)[-3:-1] }}"),
      ["question:Ab", "instruction:-", "question:dE"])
    XCTAssertEqual(try stretches("{{ \(text)|upper|trim }}"), ["question:ABC DE"])
    XCTAssertEqual(
      try stretches("{{ \(text).split()|join('+') }}"), ["question:Abc", "instruction:+", "question:dE"])
    XCTAssertEqual(
      try stretches("{{ \(text)|trim|replace('c d', '_') }}"), ["question:Ab", "instruction:_", "question:E"])
    XCTAssertEqual(
      try stretches("{{ [\(text)|trim]|tojson }}"), ["instruction:[\"", "question:Abc dE", "instruction:\"]"])
    XCTAssertEqual(
      try stretches("{% set x %}<{{ \(text)|trim }}>{% endset %}{{ x|title }}"),
      ["instruction:<", "question:Abc De", "instruction:>"])
    XCTAssertEqual(
      try stretches("{% macro m(a) %}({{ a }}){% endmacro %}{{ m(\(text)[1]) }}"),
      ["instruction:(", "question:A", "instruction:)"])
  }

  /// A piece that reaches over the end of what was said has the role of most of its bytes.
  func testIdsOfTheWholeTextHaveTheRolesOfTheirBytes() throws {
    let tokenizer = try BytePairTokenizer(
      path: "qwen2", tokenizer: Fixtures.bytes("hf_tokenizers/qwen2/tokenizer.json"))
    let source = try XCTUnwrap(try fixture()["templates"]?["qwen2_vl"]?.stringValue)
    let template = try ChatTemplate(path: "t", source: source)
    XCTAssertTrue(template.takesItems)
    let prompt = try template.render(
      messages: [
        ChatMessage(speaker: .user, items: [.medium(.image), .text("the")]),
        ChatMessage(speaker: .assistant, items: [.text("world")]),
      ], addsGenerationPrompt: false)
    XCTAssertEqual(
      prompt.text,
      "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        + "<|vision_start|><|image_pad|><|vision_end|>the<|im_end|>\n<|im_start|>assistant\nworld<|im_end|>\n"
    )
    let tokens = try prompt.encode(with: tokenizer, addingBeginning: true)
    XCTAssertEqual(tokens.map(\.id), try tokenizer.encode(prompt.text))
    func text(_ role: Role) throws -> String {
      try tokenizer.decode(tokens.filter { $0.role == role }.map(\.id), skippingSpecialTokens: false)
    }
    XCTAssertEqual(try text(.question), "the")
    XCTAssertEqual(try text(.response), "world")
    XCTAssertEqual(prompt.parts.count, 5)
  }

  func testTurnsAreCutAtTheirPlaceholders() {
    let message = ChatMessage(Sample.Turn(speaker: .user, text: "<image>a<audio><image> b <video"))
    XCTAssertEqual(
      message.items, [.medium(.image), .text("a"), .medium(.audio), .medium(.image), .text(" b <video")])
    // As without a template; one that puts a newline behind an image would put a second one.
    let lines = ChatMessage(Sample.Turn(speaker: .user, text: "<image>\n<image>\n\na\n"))
    XCTAssertEqual(lines.items, [.medium(.image), .medium(.image), .text("\na\n")])
  }

  /// A folder with a template lays its conversations out by it; a raw prompt and a folder without one do without.
  func testCheckpointsUseTheTemplateOfTheirFolder() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.copyItem(at: Fixtures.url("llama"), to: folder)
    defer { try? FileManager.default.removeItem(at: folder) }
    let turns = [
      Sample.Turn(speaker: .system, text: "be brief"), Sample.Turn(speaker: .user, text: "who is there"),
    ]
    var sample = Sample(index: 0, id: "s", turns: turns, media: [], answer: "me")
    let plain = try Checkpoint(folder: folder).prompt(for: sample)
    XCTAssertEqual(plain.spans.roles.first, .bos)
    XCTAssertFalse(plain.spans.roles.contains(.instruction))

    try Data(
      "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}{% if add_generation_prompt %}>{% endif %}"
        .utf8
    ).write(to: folder.appendingPathComponent("chat_template.jinja"))
    let checkpoint = try Checkpoint(folder: folder)
    let tokenizer = try checkpoint.requiredTokenizer()
    let text = "<s>[system] be brief [user] who is there >"
    let prompt = try checkpoint.prompt(for: sample)
    XCTAssertEqual(prompt.ids, try tokenizer.encode(text))
    XCTAssertEqual(prompt.spans.roles.filter { $0 == .bos }.count, 1)
    XCTAssertEqual(Set(prompt.spans.roles), [.bos, .instruction, .system, .question])
    let answered = try checkpoint.prompt(for: sample, includesAnswer: true)
    XCTAssertEqual(answered.promptCount, prompt.count)
    XCTAssertEqual(answered.ids, prompt.ids + (try tokenizer.encode("me")) + [tokenizer.endID ?? -1])

    sample.rawPrompt = "who is there"
    let raw = try checkpoint.prompt(for: sample)
    XCTAssertEqual(raw.ids, try tokenizer.encode("who is there", addingSpecialTokens: true))
    XCTAssertEqual(Set(raw.spans.roles), [.bos, .question])

    try Data("{% include 'x' %}".utf8).write(to: folder.appendingPathComponent("chat_template.jinja"))
    let refused = try Checkpoint(folder: folder)
    XCTAssertNoThrow(try refused.prompt(for: sample))
    sample.rawPrompt = nil
    XCTAssertThrowsError(try refused.prompt(for: sample)) { error in
      XCTAssertEqual((error as? ChatTemplateError)?.code, .unsupported)
    }
  }

  // MARK: - Refusals

  func testWhatIsOutsideTheSubsetIsRefusedWithItsLine() {
    let conversation: JSONValue = [["role": "user", "content": "x"]]
    for (source, line, construct) in [
      ("a\n{% include 'x' %}", 2, "{% include %}"), ("{% import 'x' as y %}", 1, "{% import %}"),
      ("\n\n{% block x %}{% endblock %}", 3, "{% block %}"),
      ("{{ 'x'.format(1) }}", 1, ".format of a string"),
      ("{% for x in [] recursive %}{% endfor %}", 1, "a recursive loop"),
      ("{{ strftime_now('%d') }}", 1, "the date of the day"),
      ("{{ messages.append(1) }}", 1, ".append of a list"),
      ("{{ '%s' % 1 }}", 1, "a string with % signs to be filled in"),
      ("{{ f(*messages) }}", 1, "a list of arguments out of a value"), ("{{ lipsum() }}", 1, "'lipsum'"),
    ] {
      guard case .failure(let error) = outcome(source, conversation) else {
        XCTFail("\(source) is not refused")
        continue
      }
      XCTAssertEqual(error, .unsupported(path: "template", line: line, construct: construct))
      XCTAssertEqual(error.exitStatus, .unsupported)
    }
    for source in ["{{ 1 + }}", "{% if x %}", "{% endif %}", "{{ 'x }}", "{# c", "{{ a b }}", "{% break %}"] {
      guard case .failure(.syntax) = outcome(source, conversation) else {
        XCTFail("\(source) is read")
        continue
      }
    }
  }

  func testNoTemplateRunsOrGrowsWithoutEnd() {
    for source in [
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
      "{% set ns = namespace(x='ab') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
      "{% set ns = namespace(x=[]) %}{% for a in range(999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{{ 'ab' * 999999999 }}",
      "{% for a in range(99999) %}abcdefghijklmnop{% endfor %}",
    ] {
      guard case .failure(.tooLarge) = outcome(source, [["role": "user", "content": "x"]]) else {
        XCTFail("\(source) is not stopped")
        continue
      }
    }
    for source in [
      "{{ " + String(repeating: "(", count: 5_000) + "1" + String(repeating: ")", count: 5_000) + " }}",
      "{{ 1" + String(repeating: " + 1", count: 5_000) + " }}",
      "{{ " + String(repeating: "not ", count: 5_000) + "1 }}",
      String(repeating: "{% if 1 %}", count: 5_000) + String(repeating: "{% endif %}", count: 5_000),
    ] {
      guard case .failure(.unsupported) = outcome(source, []) else {
        XCTFail("\(source.prefix(40)) is not refused")
        continue
      }
    }
  }
}
