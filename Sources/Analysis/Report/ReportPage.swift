/// The frame of every report: one HTML file that needs no network and no script.
package struct ReportPage {
  /// What the window is called.
  let title: String
  /// The colours of its groups.
  let colors: ReportColors
  /// Rules beside those of all reports.
  var style = ""
  /// What stands in it.
  let body: Markup

  /// A page.
  package init(title: String, colors: ReportColors, style: String = "", body: Markup) {
    (self.title, self.colors, self.style, self.body) = (title, colors, style, body)
  }

  /// The file.
  package var html: String {
    let page: Markup = """
      <!doctype html>
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width,initial-scale=1">
      <meta http-equiv="Content-Security-Policy" content="script-src 'none';connect-src 'none';img-src data:;font-src 'none';\
      frame-src 'none';object-src 'none';media-src 'none';form-action 'none';base-uri 'none'">
      <meta name="color-scheme" content="light dark">
      <link rel="icon" href="data:,">
      <title>\(title)</title>
      <style>
      \(Markup(stringLiteral: ReportStyle.sheet(colors) + style))
      </style>
      </head>
      <body>
      <main>
      \(body)
      </main>
      </body>
      </html>

      """
    return page.text
  }

  /// A section with a heading, a sentence and figures.
  package static func section(_ title: String, _ lead: String, _ content: Markup) -> Markup {
    "<section><h2>\(title)</h2><p class=\"soft\">\(lead)</p>\(content)</section>"
  }

  /// A figure with its caption.
  package static func figure(_ content: Markup, caption: String) -> Markup {
    "<figure>\(content)<figcaption>\(caption)</figcaption></figure>"
  }

  /// A table that scrolls by itself where it is wider than the page.
  package static func scrolling(_ table: Markup, label: String) -> Markup {
    "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"\(label)\">\(table)</div>"
  }

  /// What a report of measurements ends with: the files, the program, and where the numbers stand.
  static func footer(
    tool: AttentionContext.Tool, files: [AttentionContext.HashedFile], data: (name: String, sha256: String?),
    notes: Markup = "", numbers: Markup
  ) -> Markup {
    let list = files.map { "<li><code>\($0.name)</code> \($0.sha256)</li>" as Markup }
    let measured: Markup = data.sha256.map { "<li><code>\(data.name)</code> \($0)</li>" } ?? ""
    let commit = tool.commit.map { ", commit \($0)" } ?? ""
    return """
      <footer>\(notes)<details><summary>Files measured (SHA-256)</summary><ul class="mono">\(list)\(measured)</ul></details>
      <p>mmprobe \(tool.version)\(commit). \(numbers)</p></footer>
      """
  }

  /// A fact below the headline.
  package static func fact(_ name: String, _ value: Markup) -> Markup {
    "<div><dt>\(name)</dt><dd>\(value)</dd></div>"
  }
}
