public import Foundation
public import RunKit

/// One message of a conversation as a chat template sees it.
public struct ChatMessage: Sendable, Equatable {
  /// A part of a message.
  public enum Item: Sendable, Equatable {
    /// Something said.
    case text(String)
    /// The place of the next medium of a modality.
    case medium(Modality)
  }

  /// Who speaks.
  public let speaker: Sample.Speaker
  /// What is said and shown, in order.
  public let items: [Item]

  /// A message of these items.
  public init(speaker: Sample.Speaker, items: [Item]) { (self.speaker, self.items) = (speaker, items) }

  /// A turn of a sample: media stand where its text says `<image>`, `<audio>` or `<video>`; a newline after one belongs to
  /// it, as LLaVA data has it.
  public init(_ turn: Sample.Turn) {
    let parts = FormattedPart.splitting(turn.text, at: Modality.media, role: .question)
    self.init(
      speaker: turn.speaker,
      items: parts.compactMap { part in
        switch part {
        case .text(let text, _): .text(text)
        case .placeholder(let modality): .medium(modality)
        case .begin, .end: nil
        }
      })
  }
}

/// The Jinja template by which a checkpoint lays out a conversation.
///
/// The subset of Jinja is that of the templates of the families here, and is carried out to the letter: what lies outside
/// it is refused with the line, never passed over. Every character of the result knows whether it is the template's or
/// was said by the system, the user or the assistant, through all joining, trimming and cutting.
///
/// Source: Jinja 3.1 with the settings of transformers 5.23, `apply_chat_template`. Departs from it: `strftime_now` is not
/// defined, so that a prompt does not depend on the day.
public struct ChatTemplate: Sendable {
  /// The file it came from.
  public let path: String
  /// The template.
  public let source: String
  private let statements: [TemplateStatement]
  /// Whether the template wants the content of a message as a list of items, such as `{"type": "image"}`.
  public let takesItems: Bool

  /// The most bytes of a template.
  public static let sizeLimit = 1 << 18

  /// Reads a template.
  ///
  /// - Parameter path: The file it is from, for messages.
  /// - Throws: `ChatTemplateError.syntax`, `.unsupported`, `.tooLarge`.
  public init(path: String, source: String) throws(ChatTemplateError) {
    guard source.utf8.count <= Self.sizeLimit else {
      throw .tooLarge(path: path, what: "bytes", limit: Self.sizeLimit)
    }
    do throws(TemplateLexer.Failure) {
      statements = try TemplateParser.statements(of: source)
    } catch {
      switch error {
      case .syntax(let line, let expected): throw .syntax(path: path, line: line, expected: expected)
      case .unsupported(let line, let construct):
        throw .unsupported(path: path, line: line, construct: construct)
      }
    }
    (self.path, self.source) = (path, source)
    var finder = ContentFinder()
    takesItems = finder.loops(statements)
  }

  /// The template of a folder: `chat_template.jinja`, else `chat_template.json`, else that of `tokenizer_config.json`, as
  /// processors of transformers look for it.
  ///
  /// - Throws: `FileError`, `ConfigurationError`, `ChatTemplateError`.
  public init?(folder: URL) throws {
    func optional(_ name: String, limit: Int) throws(FileError) -> [UInt8]? {
      do {
        return try FileReader.bytes(of: folder.appendingPathComponent(name), limit: limit)
      } catch .missing {
        return nil
      }
    }
    func path(_ name: String) -> String { folder.appendingPathComponent(name).path }
    if let bytes = try optional("chat_template.jinja", limit: Self.sizeLimit) {
      guard let source = String(validating: bytes, as: UTF8.self) else {
        throw ChatTemplateError.syntax(path: path("chat_template.jinja"), line: 1, expected: "UTF-8")
      }
      try self.init(path: path("chat_template.jinja"), source: source)
      return
    }
    for name in ["chat_template.json", "processor_config.json", "tokenizer_config.json"] {
      guard let bytes = try optional(name, limit: 16 << 20) else { continue }
      let reader = try ConfigurationReader(path: path(name), bytes: bytes)
      guard let source = try TokenizerSettings.chatTemplate(reader) else { continue }
      try self.init(path: path(name), source: source)
      return
    }
    return nil
  }

  /// Lays out a conversation.
  ///
  /// - Parameters:
  ///   - addsGenerationPrompt: Whether the marks that begin an answer follow.
  ///   - variables: Further names for the template, such as `bos_token`.
  /// - Throws: `ChatTemplateError.raised` when the template refuses the conversation, `.unsupported`, `.failed`, `.tooLarge`.
  public func render(
    messages: [ChatMessage], addsGenerationPrompt: Bool, variables: [String: JSONValue] = [:]
  ) throws(ChatTemplateError) -> RenderedPrompt {
    var names = variables.mapValues { Self.value($0) }
    names["messages"] = .list(messages.map(message))
    names["add_generation_prompt"] = .bool(addsGenerationPrompt)
    for name in ["tools", "documents"] where names[name] == nil { names[name] = TemplateValue.none }
    return try render(names)
  }

  /// Lays out messages in the form that transformers takes; text in them has the origin of their role.
  func render(
    document: JSONValue, addsGenerationPrompt: Bool, variables: [String: JSONValue] = [:]
  ) throws(ChatTemplateError) -> RenderedPrompt {
    var names = variables.mapValues { Self.value($0) }
    let messages = (document.arrayValue ?? []).map { message in
      let speaker = Sample.Speaker(rawValue: message["role"]?.stringValue ?? "")
      return Self.value(message, content: speaker.map(Self.origin) ?? .template)
    }
    names["messages"] = .list(messages)
    names["add_generation_prompt"] = .bool(addsGenerationPrompt)
    for name in ["tools", "documents"] where names[name] == nil { names[name] = TemplateValue.none }
    return try render(names)
  }

  private func render(_ names: [String: TemplateValue]) throws(ChatTemplateError) -> RenderedPrompt {
    let interpreter = TemplateInterpreter()
    do throws(TemplateFailure) {
      try interpreter.run(statements, names: names)
    } catch {
      switch error {
      case .unsupported(let line, let construct):
        throw .unsupported(path: path, line: line, construct: construct)
      case .failed(let line, let reason): throw .failed(path: path, line: line, reason: reason)
      case .raised(let message): throw .raised(path: path, message: message)
      case .tooLarge(let what, let limit): throw .tooLarge(path: path, what: what, limit: limit)
      }
    }
    return RenderedPrompt(interpreter.output)
  }

  private static func origin(_ speaker: Sample.Speaker) -> TaggedText.Origin {
    switch speaker {
    case .system: .system
    case .user: .user
    case .assistant: .assistant
    }
  }

  /// A message as a dictionary.
  private func message(_ message: ChatMessage) -> TemplateValue {
    let origin = Self.origin(message.speaker)
    var dictionary = TemplateDictionary()
    dictionary["role"] = .text(message.speaker.rawValue)
    if takesItems {
      dictionary["content"] = .list(
        message.items.map { item in
          var entry = TemplateDictionary()
          switch item {
          case .text(let text):
            entry["type"] = .text("text")
            entry["text"] = .string(TaggedText(text, origin: origin))
          case .medium(let modality):
            entry["type"] = .text(modality.rawValue)
            // Some templates look for the key of the medium instead of its type.
            entry[modality.rawValue] = .text(modality.rawValue)
          }
          return .dictionary(entry)
        })
    } else {
      var content = TaggedText()
      for case .text(let text) in message.items { content.append(TaggedText(text, origin: origin)) }
      dictionary["content"] = .string(content)
    }
    return .dictionary(dictionary)
  }

  /// A JSON value; texts within `content` have the origin given.
  private static func value(_ json: JSONValue, content origin: TaggedText.Origin = .template) -> TemplateValue
  {
    func tagged(_ json: JSONValue, _ origin: TaggedText.Origin) -> TemplateValue {
      switch json {
      case .null: return .none
      case .bool(let bool): return .bool(bool)
      case .integer(let integer): return .integer(integer)
      case .number(let number): return .float(number)
      case .string(let text): return .string(TaggedText(text, origin: origin))
      case .array(let items): return .list(items.map { tagged($0, origin) })
      case .object(let object):
        var dictionary = TemplateDictionary()
        for (key, value) in object.members {
          let isSaid = key == "content" || key == "text"
          dictionary[key] = tagged(value, isSaid || value.arrayValue != nil ? origin : .template)
        }
        return .dictionary(dictionary)
      }
    }
    return tagged(json, origin)
  }
}

/// Looks for loops over the content of a message.
private struct ContentFinder {
  private var aliases: Set<String> = []

  /// Whether one of the statements, or one within them, loops over content.
  mutating func loops(_ statements: [TemplateStatement]) -> Bool {
    for statement in statements {
      switch statement.kind {
      case .loop(_, over: let sequence, if: _, let body, let otherwise):
        if isContent(sequence) || loops(body) || loops(otherwise) { return true }
      case .conditional(let branches, let otherwise):
        for branch in branches where loops(branch.body) { return true }
        if loops(otherwise) { return true }
      case .assignment(.name(let name), let value): if isContent(value) { aliases.insert(name) }
      case .macro(_, let parameters, let body):
        // What a macro is given may be content: a parameter named so is taken for it.
        for parameter in parameters where parameter.name.contains("content") {
          aliases.insert(parameter.name)
        }
        if loops(body) { return true }
      case .capture(_, _, let body), .scope(_, let body), .filtered(_, let body):
        if loops(body) { return true }
      case .assignment, .text, .output, .stop, .skip: break
      }
    }
    return false
  }

  private func isContent(_ expression: TemplateExpression) -> Bool {
    switch expression.kind {
    case .attribute(_, "content"): true
    case .item(_, let key): if case .constant(.string("content")) = key.kind { true } else { false }
    case .name(let name): aliases.contains(name)
    case .filter(let operand?, _, _): isContent(operand)
    case .conditional(let value, _, let otherwise): isContent(value) || (otherwise.map(isContent) ?? false)
    default: false
    }
  }
}
