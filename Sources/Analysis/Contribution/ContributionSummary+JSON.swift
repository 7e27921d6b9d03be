import RunKit

extension ContributionSummary {
  /// The summary as it stands in result.json.
  func json(_ definition: AttentionDefinition) -> JSONValue {
    let names = definition.groups.map(\.name)
    func byGroup(_ groups: [Group]) -> JSONValue {
      .object(
        JSONObject(
          groups.map { group in
            (
              names[group.group],
              [
                "attention": group.attention.json, "attention_among": group.attentionAmong.json,
                "share": group.share.json, "effect": group.effect?.json ?? .null,
              ]
            )
          }))
    }
    return .object(
      JSONObject([
        ("groups", byGroup(groups)), ("target", target.json), ("probability", probability.json),
        ("is_prediction", isPrediction.json), ("baseline", baseline?.json ?? .null),
        ("residual_max", JSONValue(residualMax)),
        ("cells", .object(JSONObject(cells.map { ($0.name, $0.estimate.json) }))),
        (
          "rank_correlation",
          .array(
            correlations.map {
              [
                "over": .string($0.over), "group": $0.group.map { .string(names[$0]) } ?? .null,
                "n": .integer($0.count), "rho": JSONValue($0.value),
              ]
            })
        ),
        (
          "by_tag",
          .array(
            tags.map {
              [
                "tag": .string($0.tag), "value": .string($0.value), "n": .integer($0.count),
                "groups": byGroup($0.groups), "probability": $0.probability.json,
              ]
            })
        ),
      ]))
  }
}
