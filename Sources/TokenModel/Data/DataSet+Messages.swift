import RunKit

/// Records of messages, as chat programs and other trainers write them.
extension DataSet {
  /// A list of messages: the last one of the assistant is the expected answer.
  ///
  /// A content is a text with `<image>` where media stand, or a list of texts and of media. Their files stand in `images`,
  /// `audios` and `videos` of the record, in the order of their places, or with each place:
  /// `{"type": "image", "image": "a.png"}`.
  func messages(_ record: JSONObject, _ index: Int, _ reader: MediaReader) throws -> Sample {
    guard let list = record["messages"]?.arrayValue else {
      throw DataSetError.wrongKind(
        path: url.path, record: place(index), key: "messages", found: record["messages"]?.kind ?? "nothing",
        expected: "an array")
    }
    var turns: [Sample.Turn] = []
    var record = record
    for (modality, paths) in try paths(in: list, record, index) {
      record[modality.rawValue + "s"] = .array(paths.map(JSONValue.string))
    }
    for message in list {
      guard let object = message.objectValue else {
        throw DataSetError.wrongKind(
          path: url.path, record: place(index), key: "messages", found: message.kind, expected: "objects")
      }
      let role = try string("role", object, index)
      guard let speaker = Sample.Speaker(rawValue: role) else {
        throw DataSetError.unknownSpeaker(path: url.path, record: place(index), found: role)
      }
      turns.append(Sample.Turn(speaker: speaker, text: try content(object, index)))
    }
    let answer = turns.last?.speaker == .assistant ? turns.removeLast().text : nil
    return Sample(
      index: index, id: try name(record, index), turns: turns,
      media: try media(record, index, reader, plural: true), answer: answer, tags: try tags(record, index))
  }

  /// The files that stand with the places of media, by modality; empty where the record names them.
  private func paths(in messages: [JSONValue], _ record: JSONObject, _ index: Int) throws(DataSetError)
    -> [Modality: [String]]
  {
    var paths: [Modality: [String]] = [:]
    var bare: Set<Modality> = []
    for part in messages.flatMap({ $0["content"]?.arrayValue ?? [] }) {
      let modality = Modality(rawValue: part["type"]?.stringValue ?? "")
      guard Modality.media.contains(modality) else { continue }
      if let path = (part[modality.rawValue] ?? part["path"])?.stringValue {
        paths[modality, default: []].append(path)
      } else {
        bare.insert(modality)
      }
    }
    for modality in paths.keys.sorted()
    where bare.contains(modality) || record[modality.rawValue + "s"] != nil {
      throw .wrongKind(
        path: url.path, record: place(index), key: "messages",
        found: "some files of \(modality.rawValue) media with their places and others elsewhere",
        expected: "all of them in the messages, or all in \((modality.rawValue + "s").inQuotes)")
    }
    return paths
  }

  /// The text of a message with placeholders for its media.
  private func content(_ message: JSONObject, _ index: Int) throws(DataSetError) -> String {
    guard let parts = message["content"]?.arrayValue else { return try string("content", message, index) }
    var text = ""
    for part in parts {
      let type = part["type"]?.stringValue ?? ""
      if type == "text", let words = part["text"]?.stringValue {
        text += words
      } else if Modality.media.contains(Modality(rawValue: type)) {
        text += "<\(type)>"
      } else {
        throw .wrongKind(
          path: url.path, record: place(index), key: "content",
          found: type.isEmpty ? part.kind : "a part of type \(type.inQuotes)",
          expected: "texts, and places of images, audio or videos")
      }
    }
    return text
  }
}
