import RunKit

/// A table for people: columns as wide as their cells, numbers to the right.
struct TextTable {
  /// Where the cells of a column stand.
  enum Alignment { case left, right }

  /// One column.
  struct Column {
    let title: String
    let alignment: Alignment

    static func text(_ title: String) -> Column { Column(title: title, alignment: .left) }
    static func number(_ title: String) -> Column { Column(title: title, alignment: .right) }
  }

  private let columns: [Column]
  private var rows: [[String]] = []

  init(_ columns: [Column]) { self.columns = columns }

  /// Whether there is no row.
  var isEmpty: Bool { rows.isEmpty }

  /// Adds a row; one cell for each column.
  mutating func append(_ cells: [String]) {
    precondition(cells.count == columns.count, "\(cells.count) cells for \(columns.count) columns")
    rows.append(cells)
  }

  /// Aligned columns with two spaces between, each line ended.
  var text: String {
    let widths = columns.indices.map { column in
      ([columns[column].title] + rows.map { $0[column] }).map(\.count).max() ?? 0
    }
    return ([columns.map(\.title)] + rows).map { cells in
      var line = ""
      for (column, cell) in cells.enumerated() {
        let space = String(repeating: " ", count: widths[column] - cell.count)
        line += columns[column].alignment == .left ? cell + space : space + cell
        if column + 1 < cells.count { line += "  " }
      }
      while line.last == " " { line.removeLast() }
      return line + "\n"
    }.joined()
  }

  /// The same table in Markdown.
  var markdown: String {
    func line(_ cells: [String]) -> String {
      "| "
        + cells.map { $0.split(separator: "|", omittingEmptySubsequences: false).joined(separator: "\\|") }
        .joined(separator: " | ") + " |\n"
    }
    let rule = "|" + columns.map { $0.alignment == .left ? " --- |" : " ---: |" }.joined() + "\n"
    return line(columns.map(\.title)) + rule + rows.map(line).joined()
  }

  /// The same table in LaTeX, with the rules of the package booktabs.
  var latex: String {
    func line(_ cells: [String]) -> String {
      cells.map(Self.latex).joined(separator: " & ") + " \\\\\n"
    }
    let shape = columns.map { $0.alignment == .left ? "l" : "r" }.joined()
    return "\\begin{tabular}{\(shape)}\n\\toprule\n" + line(columns.map(\.title)) + "\\midrule\n"
      + rows.map(line).joined() + "\\bottomrule\n\\end{tabular}\n"
  }

  /// Text in which everything that has a meaning in LaTeX stands for itself.
  static func latex(_ text: String) -> String {
    text.unicodeScalars.map { scalar -> String in
      switch scalar {
      case "&", "%", "$", "#", "_", "{", "}": "\\\(scalar)"
      case "\\": "\\textbackslash{}"
      case "~": "\\textasciitilde{}"
      case "^": "\\textasciicircum{}"
      case "<": "\\textless{}"
      case ">": "\\textgreater{}"
      case "–": "--"
      default: String(scalar)
      }
    }.joined()
  }

  /// The same table as comma-separated values.
  var csv: String {
    var writer = CSVWriter(columns: columns.map(\.title))
    for row in rows { writer.append(row.map(CSVWriter.Field.text)) }
    return writer.text
  }
}
