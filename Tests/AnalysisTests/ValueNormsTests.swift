import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import Analysis

final class ValueNormsTests: XCTestCase {
  /// Norms of every row's parts in every layer and head of a LLaVA language model, against the reference.
  func testNormsMatchTheReference() throws {
    let oracle = try OracleCase("attribution")
    let (decoder, embeddings, roles) = try ContributionOracle.attribution(oracle)
    let tolerance = try XCTUnwrap(oracle.description["tolerance"])
    let relative = try XCTUnwrap(tolerance["value_norm_rel"]?.doubleValue)
    let absolute = try XCTUnwrap(tolerance["shares_abs"]?.doubleValue)
    let (layers, heads, rows) = (3, 6, roles.count)
    let groups = roles.map { $0 == .image ? 0 : 1 }
    var norms = [Float](repeating: 0, count: layers * rows * 2)
    var headNorms = [Float](repeating: 0, count: layers * heads * rows * 2)
    var shares = norms
    var pairs: [Float] = []
    for row in 0..<rows {
      let observer = ValueNormObserver(decoder, row: row, groupOfKey: groups, groupCount: 2)
      var options = ForwardOptions()
      options.observers = [observer]
      _ = decoder.forward(embeddings, context: TokenContext(roles: roles), options: options)
      XCTAssertLessThan(observer.residual, 1e-5, "row \(row): parts do not sum to the output")
      for (layer, found) in observer.layers.enumerated() {
        let share = ValueNorms.shares(found.vectorNorms)
        for group in 0..<2 {
          norms[(layer * rows + row) * 2 + group] = Float(found.vectorNorms[group])
          shares[(layer * rows + row) * 2 + group] = Float(share[group])
          for head in 0..<heads {
            headNorms[((layer * heads + head) * rows + row) * 2 + group] = Float(found.headNorms[head][group])
          }
        }
        if row == rows - 1 { pairs += found.headKeyNorms.flatMap { $0.map { Float($0) } } }
      }
    }
    // A relative tolerance, of the largest norm that the case states.
    for (values, name) in [
      (norms, "value.norm"), (headNorms, "value.norm_per_head"), (pairs, "value.pair_norm_last_query"),
    ] {
      let largest = Double(values.max() ?? 0)
      try oracle.compare(values, with: name, absolute: relative * largest)
    }
    try oracle.compare(shares, with: "value.share_per_query", absolute: absolute)
    let lastImage = try XCTUnwrap(roles.lastIndex(of: .image))
    func mean(_ chosen: Range<Int>) -> [Float] {
      (0..<layers).flatMap { layer in
        (0..<2).map { group in
          Float(
            chosen.reduce(0.0) { $0 + Double(shares[(layer * rows + $1) * 2 + group]) } / Double(chosen.count)
          )
        }
      }
    }
    for name in ["value.share_all_queries", "value.share_all_queries_f64"] {
      try oracle.compare(mean(0..<rows), with: name, absolute: absolute)
    }
    try oracle.compare(mean(rows - 1..<rows), with: "value.share_last_query", absolute: absolute)
    try oracle.compare(
      mean(lastImage + 1..<rows), with: "value.share_text_after_image_queries", absolute: absolute)
    oracle.finish { !$0.hasPrefix("value.") }
  }

  /// Attention shares of the same case.
  func testSharesMatchTheReference() throws {
    let oracle = try OracleCase("attribution")
    let (decoder, embeddings, roles) = try ContributionOracle.attribution(oracle)
    let tolerance = try XCTUnwrap(oracle.description["tolerance"]?["shares_abs"]?.doubleValue)
    final class Observer: ForwardObserver {
      /// `[layers][row, head, group]`.
      var mass: [[Float]] = []
      /// `[layers][head, row, key]`.
      var probabilities: [[Float]] = []
      func attentionRequest(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionRequest? {
        var request = AttentionRequest()
        request.groups = keyRows.groups(of: context) { $0 == .image ? 0 : 1 }
        request.groupCount = 2
        request.wantsGroupMass = true
        request.wantsProbabilities = true
        return request
      }
      func observe(_ statistics: AttentionStatistics, layer: Int, context: TokenContext) {
        mass.append(statistics.groupMass?.hostValues() ?? [])
        probabilities.append(statistics.probabilities?[0].hostValues() ?? [])
      }
    }
    let observer = Observer()
    var options = ForwardOptions()
    options.observers = [observer]
    let result = decoder.forward(embeddings, context: TokenContext(roles: roles), options: options)
    let target = try oracle.integers("target_id")[0]
    let logit = try XCTUnwrap(result.logits).hostValues()[target]
    for name in ["target_logit", "check.logit_from_embeds"] {
      try oracle.compare([logit], with: name, absolute: 1e-4)
    }
    let (heads, rows) = (6, roles.count)
    let lastImage = try XCTUnwrap(roles.lastIndex(of: .image))
    func value(_ layer: Int, _ head: Int, _ row: Int, _ group: Int) -> Float {
      observer.mass[layer][(row * heads + head) * 2 + group]
    }
    func means(_ chosen: Range<Int>) -> [Float] {
      (0..<3).flatMap { layer in
        (0..<2).map { group in
          var sum = 0.0
          for row in chosen { for head in 0..<heads { sum += Double(value(layer, head, row, group)) } }
          return Float(sum / Double(chosen.count * heads))
        }
      }
    }
    var perHeadQuery: [Float] = []
    var perHead: [Float] = []
    for layer in 0..<3 {
      for head in 0..<heads {
        for row in 0..<rows { perHeadQuery += [value(layer, head, row, 0), value(layer, head, row, 1)] }
        for group in 0..<2 {
          perHead.append((0..<rows).reduce(0) { $0 + value(layer, head, $1, group) } / Float(rows))
        }
      }
    }
    try oracle.compare(perHeadQuery, with: "share.per_head_query", absolute: tolerance)
    try oracle.compare(perHead, with: "share.per_head_all_queries", absolute: tolerance)
    for name in ["share.all_queries", "share.all_queries_f64"] {
      try oracle.compare(means(0..<rows), with: name, absolute: tolerance)
    }
    try oracle.compare(means(rows - 1..<rows), with: "share.last_query", absolute: tolerance)
    try oracle.compare(
      means(lastImage + 1..<rows), with: "share.text_after_image_queries", absolute: tolerance)
    let rollout = rollout(observer.probabilities, heads: heads, rows: rows)
    for name in ["rollout", "rollout_f64"] {
      try oracle.compare(rollout.map { Float($0) }, with: name, absolute: tolerance)
    }
    oracle.finish { !$0.hasPrefix("share.") && !$0.hasPrefix("rollout") }
  }

  /// Attention rollout of the probabilities `[layers][head, row, key]`: products of ½ (mean over heads + identity), rows
  /// normalised; `[layers, rows, keys]`.
  private func rollout(_ probabilities: [[Float]], heads: Int, rows: Int) -> [Double] {
    var product = (0..<rows * rows).map { $0 / rows == $0 % rows ? 1.0 : 0.0 }
    var all: [Double] = []
    for layer in probabilities {
      var step = [Double](repeating: 0, count: rows * rows)
      for cell in step.indices {
        for head in 0..<heads { step[cell] += Double(layer[head * rows * rows + cell]) / Double(heads) / 2 }
        if cell / rows == cell % rows { step[cell] += 0.5 }
      }
      var next = [Double](repeating: 0, count: rows * rows)
      for row in 0..<rows {
        let sum = (0..<rows).reduce(0.0) { $0 + step[row * rows + $1] }
        for middle in 0..<rows {
          let weight = step[row * rows + middle] / sum
          for key in 0..<rows { next[row * rows + key] += weight * product[middle * rows + key] }
        }
      }
      product = next
      all += product
    }
    return all
  }

  /// A key with most of the attention and a value of nearly nothing takes a small part.
  func testASinkWithoutValueCountsLittle() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    let data = try DataSet(Fixtures.avdigitsData("test.qa.jsonl"))
    let sample = try data.sample(at: 2, for: checkpoint.model)
    let prompt = try checkpoint.prompt(for: sample)
    let roles = prompt.spans.roles
    let groups = roles.indices.map { $0 == 0 ? 0 : 1 }
    /// bos gets 90 % of every row's attention, and its values are scaled to a hundredth.
    struct Sink: Intervention {
      func edits(_ name: TensorName) -> Bool { name.site == .value }
      func edit(_ tensor: Tensor, _ name: TensorName, context: TokenContext) -> Tensor {
        tensor.replacingRows([0], with: 0.01 * tensor.slice(0..<1))
      }
      func attentionEdit(layer: Int, context: TokenContext) -> AttentionEdit? {
        { _, _, probabilities in
          guard probabilities.count > 1 else { return }
          let rest = 1 - probabilities[0]
          guard rest > 0 else { return }
          for key in 1..<probabilities.count { probabilities[key] *= 0.1 / rest }
          probabilities[0] = 0.9
        }
      }
    }
    let observer = ValueNormObserver(
      checkpoint.model.decoder, row: prompt.count - 1, groupOfKey: groups, groupCount: 2)
    var options = ForwardOptions()
    options.observers = [observer]
    options.interventions = [Sink()]
    _ = checkpoint.model.decoder.forward(
      checkpoint.model.embeddings(prompt), context: TokenContext(roles: roles), options: options)
    XCTAssertLessThan(observer.residual, 1e-5)
    for layer in observer.layers {
      let shares = ValueNorms.shares(layer.tokenNorms(groupCount: 2))
      XCTAssertLessThan(shares[0], 0.25, "90 % of the attention")
    }
  }
}
