import Foundation
import TokenModel

extension AttentionReport {
  /// exp(H): how many keys uniform attention of this entropy would cover.
  static func keyCount(_ entropy: Double) -> Double { exp(entropy) }

  /// The heads of each layer by the share they give to each medium.
  var headSection: Markup {
    guard !summary.media.isEmpty else { return Markup() }
    let most =
      summary.media.flatMap { medium in headShares(medium).flatMap { $0.compactMap { $0 } } }.max() ?? 1
    let grids = summary.media.map { headGrid($0, most: most) }
    return section(
      "Which heads look at the media",
      "A mean over heads can hide a few heads that do the looking.",
      figure(
        "<div class=\"headgrids\">\(grids)</div>\(scale(most: most, text: Text.percent))",
        caption:
          "Share of attention of every head on the medium, mean over samples; rows are layers, columns heads, "
          + "both from 0; one scale for all grids. Queries: \(definition.queries.explanation); "
          + "\(definition.sinks.explanation)."))
  }

  /// The mean share of each layer and head on a medium.
  private func headShares(_ medium: Role) -> [[Double?]] {
    let members = definition.groups(of: medium)
    return definition.layers.indices.map { layer in
      definition.heads.indices.map { head in
        let shares = members.compactMap { summary.groups[$0].byLayerHead[layer][head] }
        return shares.count == members.count ? shares.reduce(0, +) : nil
      }
    }
  }

  private func headGrid(_ medium: Role, most: Double) -> Markup {
    let shares = headShares(medium)
    let headCount = definition.heads.count
    let group = definition.groups(of: medium).first ?? 0
    // Numbers fit into the cells of a small model only.
    let showsNumbers = headCount <= 8
    let heads = LinePlot.thinned(definition.heads, most: 16).map { "<b>\($0)</b>" as Markup }
    let every = max(1, (definition.layers.count + 15) / 16)
    let rows = definition.layers.indices.map { layer -> Markup in
      let cells = shares[layer].enumerated().map { head, share -> Markup in
        let title =
          "layer \(definition.layers[layer]), head \(definition.heads[head]): \(Text.percent(share))"
        let number = showsNumbers ? Text.fixed(share.map { 100 * $0 }, 1) : ""
        return "<i class=\"\(ReportColors.step(share, of: most))\" title=\"\(title)\">\(number)</i>"
      }
      return "<b>\(layer % every == 0 ? String(definition.layers[layer]) : "")</b>\(cells)"
    }
    let width = 34 + headCount * (showsNumbers ? 72 : 26)
    return """
      <div><h3><span class="ink \(groupClass(group))">\(medium.rawValue)</span> by layer and head</h3>
      <div class="heads" role="img" aria-label="Share on \(medium.rawValue) by layer and head" style="\
      grid-template-columns:2.2em repeat(\(headCount),minmax(0,1fr));--most:\(width)px;--ratio:\(showsNumbers ? "1.9" : "1")">\
      <b></b>\(heads)\(rows)</div>
      \(topHeads(medium, shares, most: most, group: group))</div>
      """
  }

  private func topHeads(_ medium: Role, _ shares: [[Double?]], most: Double, group: Int) -> Markup {
    struct Head {
      let layer: Int
      let head: Int
      let share: Double
    }
    var list: [Head] = []
    for (layer, row) in shares.enumerated() {
      for (head, share) in row.enumerated() {
        if let share { list.append(Head(layer: layer, head: head, share: share)) }
      }
    }
    list.sort { ($1.share, $0.layer, $0.head) < ($0.share, $1.layer, $1.head) }
    let rows = list.prefix(6).map { head -> Markup in
      """
      <div class="row"><span>layer \(definition.layers[head.layer]), head \(definition.heads[head.head])</span>\
      <svg class="\(groupClass(group))" width="100%" height="14"><rect class="track" width="100%" height="14" rx="2"/>\
      <rect class="bar" width="\(percent: head.share / max(most, 1e-9))" height="14" rx="2"/></svg>\
      <span class="value">\(Text.percent(head.share))</span></div>
      """
    }
    return """
      <div class="toplist"><h3>Heads that look most at \(medium.rawValue)</h3><div class="rows tight">\(rows)</div></div>
      """
  }
}
