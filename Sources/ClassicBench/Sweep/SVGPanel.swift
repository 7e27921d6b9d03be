import Analysis

/// One pair of axes in an SVG: lines, bands and marks in the coordinates of the data.
struct SVGPanel {
  /// Colours that can be told apart, after Okabe and Ito, "Color Universal Design", 2008.
  static let colors = [
    "#0b6db0", "#cf5a0e", "#00875f", "#a9457e", "#b98300", "#5a6fd0", "#7c6a52", "#2e7f8c", "#8a5a2b",
    "#6b3fa0", "#4d7c0f",
  ]
  /// What a comparison is with.
  static let gray = "#8a949e"

  /// Where the plotting area is, in pixels.
  let frame: (x: Double, y: Double, width: Double, height: Double)
  private let xTicks: [Double]
  private let yTicks: [Double]
  private var body = Markup()

  /// A panel whose axes end at ticks around the given ranges.
  init(
    frame: (x: Double, y: Double, width: Double, height: Double), x: ClosedRange<Double>,
    y: ClosedRange<Double>, ticks: (x: Int, y: Int) = (4, 4)
  ) {
    self.frame = frame
    xTicks = LinePlot.ticks(from: x.lowerBound, to: x.upperBound, count: ticks.x)
    yTicks = LinePlot.ticks(from: y.lowerBound, to: y.upperBound, count: ticks.y)
  }

  private func x(_ value: Double) -> Double {
    let (low, high) = (xTicks.first ?? 0, xTicks.last ?? 1)
    return frame.x + frame.width * (value - low) / (high - low)
  }

  private func y(_ value: Double) -> Double {
    let (low, high) = (yTicks.first ?? 0, yTicks.last ?? 1)
    return frame.y + frame.height * (1 - (value - low) / (high - low))
  }

  /// A line through points, in order.
  mutating func addLine(_ points: [(x: Double, y: Double)], color: String, width: Double = 2) {
    guard points.count > 1 else { return }
    body += """
      <path d="\(path(points))" fill="none" stroke="\(color)" stroke-width="\(width)" stroke-linejoin="round"/>
      """
  }

  /// A filled band between two lines over the same places.
  mutating func addBand(_ points: [(x: Double, low: Double, high: Double)], color: String) {
    guard points.count > 1 else { return }
    let outline = points.map { (x: $0.x, y: $0.high) } + points.reversed().map { (x: $0.x, y: $0.low) }
    body += "<path d=\"\(path(outline))Z\" fill=\"\(color)\" opacity=\"0.18\"/>"
  }

  private func path(_ points: [(x: Double, y: Double)]) -> Markup {
    points.enumerated().map { index, point -> Markup in
      index == 0 ? "M\(x(point.x)) \(y(point.y))" : "L\(x(point.x)) \(y(point.y))"
    }.joined()
  }

  /// A point with its intervals, a label beside it and a text for those who ask.
  mutating func addMark(
    x place: Double, y value: Double, xRange: (low: Double, high: Double)? = nil,
    yRange: (low: Double, high: Double)? = nil, radius: Double = 4.5, color: String, label: String = "",
    title: String, isHollow: Bool = false
  ) {
    body += "<g><title>\(title)</title>"
    if let xRange {
      body += """
        <path d="M\(x(xRange.low)) \(y(value))H\(x(xRange.high))" stroke="\(color)" stroke-width="1.4" opacity="0.6"/>
        """
    }
    if let yRange {
      body += """
        <path d="M\(x(place)) \(y(yRange.low))V\(y(yRange.high))" stroke="\(color)" stroke-width="1.4" opacity="0.6"/>
        """
    }
    body += """
      <circle cx="\(x(place))" cy="\(y(value))" r="\(radius)" fill="\(isHollow ? "none" : color)" stroke="\(color)" \
      stroke-width="1.6"/>
      """
    if !label.isEmpty {
      // To the left of the mark where the right has no room.
      let isRight = x(place) < frame.x + 0.78 * frame.width
      body += """
        <text x="\(x(place) + (isRight ? 8 : -8))" y="\(y(value) - 6)" font-size="11" fill="\(color)" \
        text-anchor="\(isRight ? "start" : "end")">\(label)</text>
        """
    }
    body += "</g>"
  }

  /// The panel with its axes.
  ///
  /// - Parameters:
  ///   - percent: Whether values upwards are shares, to be shown in percent.
  ///   - hidesYLabels: Whether lines upwards stand for rows that are named elsewhere.
  func markup(
    title: String, xTitle: String = "", yTitle: String = "", percent: Bool = false, hidesYLabels: Bool = false
  ) -> Markup {
    var axes: Markup = """
      <text x="\(frame.x)" y="\(frame.y - 10)" font-size="13" font-weight="600" fill="currentColor">\(title)</text>
      """
    for tick in yTicks {
      axes += """
        <path d="M\(frame.x) \(y(tick))H\(frame.x + frame.width)" stroke="currentColor" stroke-opacity="0.13"/>
        """
      if hidesYLabels { continue }
      axes += """
        <text x="\(frame.x - 6)" y="\(y(tick) + 4)" font-size="11" text-anchor="end" fill="currentColor">\
        \(Self.text(tick, percent: percent))</text>
        """
    }
    let bottom = frame.y + frame.height
    for tick in xTicks {
      axes += """
        <path d="M\(x(tick)) \(bottom)v4" stroke="currentColor" stroke-opacity="0.5"/>\
        <text x="\(x(tick))" y="\(bottom + 16)" font-size="11" text-anchor="middle" fill="currentColor">\
        \(Self.text(tick, percent: false))</text>
        """
    }
    if !xTitle.isEmpty {
      axes += """
        <text x="\(frame.x + frame.width / 2)" y="\(bottom + 34)" font-size="12" text-anchor="middle" \
        fill="currentColor">\(xTitle)</text>
        """
    }
    if !yTitle.isEmpty {
      let (left, middle) = (frame.x - 44, frame.y + frame.height / 2)
      axes += """
        <text x="\(left)" y="\(middle)" font-size="12" text-anchor="middle" fill="currentColor" \
        transform="rotate(-90 \(left) \(middle))">\(yTitle)</text>
        """
    }
    return "<g>\(axes)\(body)</g>"
  }

  /// A tick: at most three decimals, shares in percent.
  private static func text(_ value: Double, percent: Bool) -> String {
    let shown = percent ? 100 * value : value
    // Ticks are multiples of their distance, up to rounding.
    let thousandths = (shown * 1000).rounded() / 1000
    if thousandths == thousandths.rounded() { return "\(Int(thousandths))" }
    return "\(thousandths)"
  }
}

/// A drawing that stands alone as a file or within a page.
struct SVGFigure {
  /// Its name as a file, without an ending.
  let name: String
  /// What it shows, for those who cannot see it.
  let label: String
  /// What stands below it.
  let caption: String
  let width: Double
  let height: Double
  let body: Markup

  /// The drawing as part of a page, as wide as its place.
  var inline: Markup {
    """
    <svg viewBox="0 0 \(width) \(height)" style="width:100%;height:auto;display:block" role="img" aria-label="\(label)">\
    \(body)</svg>
    """
  }

  /// The drawing as a file.
  var file: String {
    let markup: Markup = """
      <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(width) \(height)" width="\(width)" height="\(height)" \
      font-family="system-ui,sans-serif" style="color:#1a1f24;background:#ffffff"><title>\(label)</title>\(body)</svg>

      """
    return markup.text
  }
}
