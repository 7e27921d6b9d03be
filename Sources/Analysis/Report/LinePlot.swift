import Foundation

/// A plot over layers: an SVG that stretches to the width it gets, with labels in HTML that keep their size.
package struct LinePlot {
  /// The range of values.
  let range: ClosedRange<Double>
  /// How high the plotting area is, in pixels.
  let height: Int
  /// How many points lie side by side.
  let count: Int
  /// Labels of values.
  var yTicks: [(value: Double, label: String)]
  /// Labels of points.
  var xLabels: [String]
  /// What stands under the labels of points.
  var xTitle = ""
  /// Room for labels at the right end, as a CSS length.
  var endWidth = "6.4em"
  /// Room for labels of values, as a CSS length.
  var tickWidth = "2.9em"
  private static let dotLimit = 16
  /// What is drawn, in order.
  private var body = Markup()
  private var ends: [(value: Double, label: Markup)] = []

  init(
    range: ClosedRange<Double>, height: Int, count: Int, yTicks: [(value: Double, label: String)],
    xLabels: [String]
  ) {
    self.range = range
    self.height = height
    self.count = count
    self.yTicks = yTicks
    self.xLabels = xLabels
  }

  /// Where a point lies, 0 left, 1 right.
  func x(_ point: Int) -> Double { count == 1 ? 0.5 : 0.015 + 0.97 * Double(point) / Double(count - 1) }
  /// Where a value lies, 0 top, 1 bottom.
  func y(_ value: Double) -> Double {
    let span = range.upperBound - range.lowerBound
    return span > 0
      ? 1 - (min(range.upperBound, max(range.lowerBound, value)) - range.lowerBound) / span : 0.5
  }

  private func place(_ point: Int, _ value: Double) -> Markup { "\(1000 * x(point)) \(1000 * y(value))" }

  /// A broken line through the known values; a single point becomes a short dash.
  mutating func addLine(_ values: [Double?], class name: String, group: String = "") {
    var path = Markup()
    var isDrawing = false
    for (point, value) in values.enumerated() {
      guard let value else {
        isDrawing = false
        continue
      }
      path += isDrawing ? "L\(place(point, value))" : "M\(place(point, value))"
      isDrawing = true
    }
    if count == 1, let value = values.first ?? nil { path = "M350 \(1000 * y(value))H650" }
    body += "<path class=\"\(name) \(group)\" d=\"\(path)\"/>"
  }

  /// A filled range between two rows of values, where both are known.
  mutating func addBand(_ low: [Double?], _ high: [Double?], class name: String, group: String) {
    var segments: [[Int]] = [[]]
    for point in 0..<count {
      if low[point] != nil, high[point] != nil {
        segments[segments.count - 1].append(point)
      } else if segments.last?.isEmpty == false {
        segments.append([])
      }
    }
    for segment in segments where !segment.isEmpty {
      let upper = segment.map { place($0, high[$0] ?? 0) }
      let lower = segment.reversed().map { place($0, low[$0] ?? 0) }
      if segment.count == 1, let point = segment.first {
        let (left, right) = (1000 * x(point) - 40, 1000 * x(point) + 40)
        let (top, bottom) = (1000 * y(high[point] ?? 0), 1000 * y(low[point] ?? 0))
        body += "<path class=\"\(name) \(group)\" d=\"M\(left) \(top)H\(right)V\(bottom)H\(left)Z\"/>"
        continue
      }
      let corners = (upper + lower).enumerated().map {
        $0.offset == 0 ? "M\($0.element)" : "L\($0.element)" as Markup
      }
      body += "<path class=\"\(name) \(group)\" d=\"\(corners)Z\"/>"
    }
  }

  /// A line through points anywhere between 0, left, and 1, right.
  mutating func addCurve(_ points: [(place: Double, value: Double)], class name: String, group: String) {
    let path = points.enumerated().map { index, point -> Markup in
      let corner: Markup = "\(1000 * (0.015 + 0.97 * point.place)) \(1000 * y(point.value))"
      return index == 0 ? "M\(corner)" : "L\(corner)"
    }
    let end: Markup = points.count == 1 ? "h.1" : ""
    body += "<path class=\"\(name) \(group)\" d=\"\(path)\(end)\"/>"
  }

  /// Points anywhere that tell their value, with a dot where there are few.
  mutating func addMarks(
    _ points: [(place: Double, value: Double)], group: String, title: (Int) -> String
  ) {
    for (index, point) in points.enumerated() {
      let corner: Markup = "\(1000 * (0.015 + 0.97 * point.place)) \(1000 * y(point.value))"
      body += "<g class=\"\(group)\"><title>\(title(index))</title>"
      if points.count <= Self.dotLimit { body += "<path class=\"dot\" d=\"M\(corner)h.1\"/>" }
      body += "<path class=\"hover\" d=\"M\(corner)h.1\"/></g>"
    }
  }

  /// Places that tell their value, with a dot where there are few enough to keep apart.
  mutating func addDots(_ values: [Double?], group: String, title: (Int, Double) -> String) {
    for (point, value) in values.enumerated() {
      guard let value else { continue }
      let place = place(point, value)
      body += "<g class=\"\(group)\"><title>\(title(point, value))</title>"
      if count <= Self.dotLimit { body += "<path class=\"dot\" d=\"M\(place)h.1\"/>" }
      body += "<path class=\"hover\" d=\"M\(place)h.1\"/></g>"
    }
  }

  /// A label at the right end, at the height of a value.
  mutating func addEnd(_ value: Double, _ label: Markup) { ends.append((value, label)) }

  /// A horizontal line across the plot.
  mutating func addLevel(_ value: Double, class name: String, group: String = "") {
    body += "<path class=\"\(name) \(group)\" d=\"M0 \(1000 * y(value))H1000\"/>"
  }

  /// The plot; `label` says what it shows to those who cannot see it.
  func markup(label: String) -> Markup {
    let grid = yTicks.map { "<path class=\"gridline\" d=\"M0 \(1000 * y($0.value))H1000\"/>" as Markup }
    let ticks = yTicks.map { "<span style=\"top:\(percent: y($0.value))\">\($0.label)</span>" as Markup }
    let columns = xLabels.enumerated().map { point, text -> Markup in
      text.isEmpty ? "" : "<span style=\"left:\(percent: x(point))\">\(text)</span>"
    }
    let tops = Self.spread(ends.map { y($0.value) * Double(height) }, gap: 16, height: Double(height))
    let labels = zip(ends, tops).map { end, top -> Markup in
      "<span style=\"top:\(top)px\">\(end.label)</span>"
    }
    let title: Markup = xTitle.isEmpty ? "" : "<div class=\"axis\">\(xTitle)</div>"
    return """
      <div class="plot" style="--h:\(height)px;--ys:\(tickWidth);--ends:\(endWidth)">
      <div class="y">\(ticks)</div>
      <svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" aria-label="\(label)">\(grid)\(body)</svg>
      <div class="ends">\(labels)</div><div class="x">\(columns)</div>\(title)</div>
      """
  }

  /// Moves labels apart until they are `gap` from each other, as little as needed.
  static func spread(_ tops: [Double], gap: Double, height: Double) -> [Double] {
    let order = tops.indices.sorted { (tops[$0], $0) < (tops[$1], $1) }
    var placed = tops
    for (earlier, later) in zip(order, order.dropFirst()) {
      placed[later] = max(placed[later], placed[earlier] + gap)
    }
    if let last = order.last { placed[last] = min(placed[last], max(height, gap * Double(tops.count - 1))) }
    for (later, earlier) in zip(order.reversed(), order.reversed().dropFirst()) {
      placed[earlier] = min(placed[earlier], placed[later] - gap)
    }
    return placed
  }

  /// Values for about `count` ticks from 0 to at least `most`, at steps of 1, 2 or 5.
  static func ticks(to most: Double, count: Int) -> [Double] {
    guard most > 0, most.isFinite else { return [0, 1] }
    let rough = most / Double(count)
    let power = pow(10, floor(log10(rough)))
    let step = [1, 2, 5, 10].map { $0 * power }.first { $0 >= rough } ?? rough
    return (0...Int((most / step).rounded(.up))).map { Double($0) * step }
  }

  /// Values for about `count` ticks that enclose both ends, at steps of 1, 2 or 5.
  package static func ticks(from low: Double, to high: Double, count: Int) -> [Double] {
    let span = high - low
    guard span > 0, span.isFinite else { return [low, low + max(1e-12, abs(low))] }
    let rough = span / Double(count)
    let power = pow(10, floor(log10(rough)))
    let step = [1, 2, 5, 10].map { $0 * power }.first { $0 >= rough } ?? rough
    let (first, last) = ((low / step).rounded(.down), (high / step).rounded(.up))
    return (0...Int(last - first)).map { (first + Double($0)) * step }
  }

  /// A label for at most about `most` of `numbers`, the others empty.
  static func thinned(_ numbers: [Int], most: Int) -> [String] {
    let every = max(1, (numbers.count + most - 1) / most)
    return numbers.enumerated().map { $0.offset % every == 0 ? String($0.element) : "" }
  }
}
