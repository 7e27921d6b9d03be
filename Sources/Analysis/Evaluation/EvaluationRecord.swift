import Foundation
public import RunKit

/// One answered question: a line of samples.jsonl.
public struct EvaluationRecord: Sendable, Equatable {
  /// What the model answered under one condition.
  public struct Answer: Sendable, Equatable {
    /// The answer, without spaces around it.
    public let text: String
    /// Whether the model ended it itself.
    public let isComplete: Bool

    /// An answer.
    public init(_ text: String, isComplete: Bool) { (self.text, self.isComplete) = (text, isComplete) }
  }

  /// The place in the data set, from 0.
  public let index: Int
  /// The name of the sample.
  public let id: String
  /// SHA-256 of its text, media and expected answer.
  public let hash: String
  /// The identities of its media, by modality.
  public let clusters: [String: String]
  /// Properties to group by.
  public let tags: [String: String]
  /// The expected answer.
  public let expected: String
  /// One for each condition of the definition.
  public let answers: [Answer]

  /// An answered question.
  public init(
    index: Int, id: String, hash: String, clusters: [String: String] = [:], tags: [String: String],
    expected: String, answers: [Answer]
  ) {
    (self.index, self.id, self.hash, self.clusters) = (index, id, hash, clusters)
    (self.tags, self.expected, self.answers) = (tags, expected, answers)
  }

  /// Whether an answer is the expected one byte for byte, white space around them aside.
  public func isCorrect(_ condition: Int) -> Bool {
    answers[condition].text.utf8.elementsEqual(Self.trimmed(expected).utf8)
  }

  /// A text without white space around it.
  static func trimmed(_ text: String) -> String { text.trimmingCharacters(in: .whitespacesAndNewlines) }

  /// The value of a tag, or of several with plus signs between; `none` where a tag is missing.
  func value(of key: String) -> String {
    key.split(separator: "+").map { tags[String($0)] ?? "none" }.joined(separator: "+")
  }

  /// Records by the value of a tag, values in their order.
  static func groups(_ records: [EvaluationRecord], by key: String) -> [(
    value: String, records: [EvaluationRecord]
  )] {
    Dictionary(grouping: records) { $0.value(of: key) }.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }

  /// The cluster of each record; one without the medium is a cluster of its own. nil for independent samples.
  static func clusterKeys(_ records: [EvaluationRecord], _ medium: String?) -> [String]? {
    medium.map { medium in
      records.map { record in
        record.clusters[medium].map { "item \($0)" } ?? "sample \(record.index)"
      }
    }
  }
}

extension EvaluationRecord {
  /// The record as a line, keys in a fixed order.
  public func json(_ definition: EvaluationDefinition) -> JSONValue {
    func sorted(_ words: [String: String]) -> JSONValue {
      .object(JSONObject(words.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) }))
    }
    return [
      "index": .integer(index), "id": .string(id), "hash": .string(hash), "clusters": sorted(clusters),
      "tags": sorted(tags), "answer": .string(expected),
      "conditions": .object(
        JSONObject(
          definition.conditions.indices.map { place in
            (
              definition.conditions[place].name,
              [
                "generated": .string(answers[place].text), "complete": .bool(answers[place].isComplete),
                "correct": .bool(isCorrect(place)),
              ]
            )
          })),
    ]
  }

  /// Reads a line.
  ///
  /// - Throws: `AttentionRecordError`, naming file, line and key.
  init(json: JSONValue, _ definition: EvaluationDefinition, at place: RecordPlace)
    throws(AttentionRecordError)
  {
    var reader = try StrictObject(json, at: place)
    func words(_ key: String, _ reader: inout StrictObject) throws(AttentionRecordError) -> [String: String] {
      var object = try reader.object(key)
      var words: [String: String] = [:]
      for name in object.allKeys() { words[name] = try object.string(name) }
      return words
    }
    let index = try reader.int("index", in: 0...1 << 40)
    let (id, hash) = (try reader.string("id"), try reader.string("hash"))
    let (clusters, tags) = (try words("clusters", &reader), try words("tags", &reader))
    let expected = try reader.string("answer")
    var conditions = try reader.object("conditions")
    var answers: [Answer] = []
    var claims: [Bool] = []
    for condition in definition.conditions {
      var answer = try conditions.object(condition.name)
      answers.append(
        Answer(try answer.string("generated"), isComplete: try answer.bool("complete")))
      claims.append(try answer.bool("correct"))
      try answer.finish()
    }
    try conditions.finish()
    try reader.finish()
    self.init(
      index: index, id: id, hash: hash, clusters: clusters, tags: tags, expected: expected, answers: answers)
    for (number, claim) in claims.enumerated() where claim != isCorrect(number) {
      throw .wrongValue(
        place: place, key: "conditions.\(definition.conditions[number].name).correct", found: "\(claim)",
        expected: "\(!claim), as the answers say")
    }
  }
}
