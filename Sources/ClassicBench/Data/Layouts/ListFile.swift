import Foundation
import RunKit

/// A list of samples: lines of fields with commas, spaces or tabs between.
///
/// A record with a comma outside of quotes is split at commas, with quotes as in RFC 4180; any other at spaces and tabs.
/// Both forms of the published lists are read so: `id,10,label` of OGM-GE and `id … label` of the benchmark.
struct ListFile {
  /// One record.
  struct Row {
    /// The line it begins in, from 1.
    let line: Int
    let fields: [String]
  }

  /// The largest list in bytes.
  static let sizeLimit = 1 << 28
  let path: String
  let rows: [Row]
  /// The line of a quote that nothing closes, which takes in all that follows; nil if there is none.
  let openQuote: Int?

  /// - Throws: `FileError`.
  init(_ url: URL) throws {
    path = url.path
    (rows, openQuote) = Self.rows(of: [UInt8](try FileReader.text(of: url, limit: Self.sizeLimit).utf8))
  }

  /// The records of a text; empty lines are none.
  static func rows(of bytes: [UInt8]) -> (rows: [Row], openQuote: Int?) {
    var rows: [Row] = []
    var (fields, field, isQuoted, hasComma) = ([[UInt8]](), [UInt8](), false, false)
    var (line, first, index, quoteLine) = (1, 1, 0, 1)
    func text(_ bytes: [UInt8]) -> String {
      String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespaces)
    }
    func end() {
      fields.append(field)
      field = []
      var words = fields.map(text)
      if !hasComma {
        words = words[0].split(whereSeparator: { $0 == " " || $0 == "\t" }).map(String.init)
      }
      if words.contains(where: { !$0.isEmpty }) { rows.append(Row(line: first, fields: words)) }
      (fields, hasComma) = ([], false)
    }
    while index < bytes.count {
      let byte = bytes[index]
      index += 1
      switch byte {
      case UInt8(ascii: "\""):
        if isQuoted, index < bytes.count, bytes[index] == byte {
          field.append(byte)
          index += 1
        } else if isQuoted || field.allSatisfy({ $0 == 0x20 }) {
          // A quote within a plain field is a quote.
          isQuoted.toggle()
          quoteLine = line
        } else {
          field.append(byte)
        }
      case UInt8(ascii: ",") where !isQuoted:
        hasComma = true
        fields.append(field)
        field = []
      case 0x0A:
        line += 1
        if isQuoted {
          field.append(0x20)
        } else {
          end()
          first = line
        }
      case 0x0D: break
      default: field.append(byte)
      }
    }
    end()
    return (rows, isQuoted ? quoteLine : nil)
  }
}

/// Names in the order that people count in: runs of digits by their value, the rest by bytes.
func precedesNaturally(_ left: String, _ right: String) -> Bool {
  let (a, b) = (Array(left.utf8), Array(right.utf8))
  func isDigit(_ byte: UInt8) -> Bool { UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte }
  var (i, j) = (0, 0)
  while i < a.count, j < b.count {
    if isDigit(a[i]), isDigit(b[j]) {
      let (first, second) = (a[i...].prefix(while: isDigit), b[j...].prefix(while: isDigit))
      let (x, y) = (first.drop { $0 == 0x30 }, second.drop { $0 == 0x30 })
      if x.count != y.count { return x.count < y.count }
      if !x.elementsEqual(y) { return x.lexicographicallyPrecedes(y) }
      (i, j) = (first.endIndex, second.endIndex)
    } else {
      if a[i] != b[j] { return a[i] < b[j] }
      (i, j) = (i + 1, j + 1)
    }
  }
  if a.count - i != b.count - j { return a.count - i < b.count - j }
  return a.lexicographicallyPrecedes(b)
}
