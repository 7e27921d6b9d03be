import Foundation
public import RunKit
import TokenModel

extension AttentionSummary {
  /// The name and version of the form of result.json; within a version keys are only added.
  public static let schema = "mmprobe.result/v1"

  /// The result as it stands in result.json: everything but what changes from try to try.
  ///
  /// Shares are fractions, entropies nats, layers and heads counted from 0; unknown is `null`.
  public var json: JSONValue {
    var object = JSONObject([
      ("schema", .string(Self.schema)), ("kind", .string(context.kind)), ("tool", context.tool.json),
      ("run", runJSON), ("model", context.model.json), ("data", dataJSON),
      ("definition", context.definition.json), ("checks", checksJSON),
      ("groups", .array(groups.indices.map { groupJSON(groups[$0]) })),
      ("indices", .object(JSONObject(indices.map { ($0.medium.rawValue, indexJSON($0)) }))),
      ("entropy", ["by_layer": byLayer(entropy)]),
      ("by_tag", .array(tags.map { tagJSON($0) })),
      ("stratified", .array(strata.map { stratumJSON($0) })),
      (
        "by_query_position", .array(queryPositions.enumerated().map { positionJSON($0.offset, $0.element) })
      ),
      ("by_head", headsJSON),
      ("sinks", .array(sinks.map { sinkJSON($0) })),
      ("warnings", .array(warnings.map(\.json))),
    ])
    if let contribution { object["contribution"] = contribution.json(context.definition) }
    return .object(object)
  }

  private var runJSON: JSONValue {
    [
      "status": isComplete ? "complete" : "partial", "seed": .integer(context.seed),
      "shard": context.shardJSON,
      "options": .object(context.options),
    ]
  }

  private var dataJSON: JSONValue {
    var object = context.data.json.objectValue ?? JSONObject()
    object["n_expected"] = .integer(context.expectedCount)
    object["n_done"] = .integer(measuredCount)
    object["n_skipped"] = .integer(skipped.count)
    object["skipped"] = .array(
      skipped.compactMap { sample in
        guard case .skipped(let index, let id, let reason) = sample else { return nil }
        return ["index": .integer(index), "id": .string(id), "reason": .string(reason)]
      })
    object["tokens"] = .object(
      JSONObject(
        zip(groups, tokens).map { group, counts in
          (
            group.name,
            [
              "mean": JSONValue(counts.mean), "min": counts.minimum.map { .integer($0) } ?? .null,
              "max": counts.maximum.map { .integer($0) } ?? .null,
            ]
          )
        }))
    object["n_clusters"] = clusterCount.map { .integer($0) } ?? .null
    return .object(object)
  }

  private var checksJSON: JSONValue {
    [
      "row_sum_max_error": JSONValue(rowSumMaxError), "n_nonfinite": .integer(nonfiniteCount),
      "parity": ["status": "not_run", "max_abs_logit": .null],
    ]
  }

  private func byLayer(_ estimates: [Estimate]) -> JSONValue {
    .array(
      zip(context.definition.layers, estimates).map { layer, estimate in
        var object = JSONObject([("layer", .integer(layer))])
        for (key, value) in estimate.members { object[key] = value }
        return .object(object)
      })
  }

  private func groupJSON(_ group: Group) -> JSONValue {
    .object(
      JSONObject([
        ("name", .string(group.name)), ("token_share", group.tokenShare.json),
        ("baseline", group.baseline.json),
        ("share", group.share.json), ("efficiency", group.efficiency.json),
        ("uniform_ratio", group.uniformRatio.json), ("share_no_bos", group.shareWithoutBos.json),
        ("share_no_sinks", group.shareWithoutSinks.json), ("by_layer", byLayer(group.byLayer)),
        (
          "by_layer_head",
          .array(group.byLayerHead.map { heads in .array(heads.map { JSONValue($0) }) })
        ),
      ]))
  }

  private func indexJSON(_ index: Index) -> JSONValue {
    .object(
      JSONObject([
        (
          "mdi",
          layered(index.mdi, { $0.json }, byLayer: byLayer(index.mdi.byLayer), first: "mean")
        ),
        ("mdi_of_means", JSONValue(index.mdiOfMeans)),
        (
          "aei",
          .object(JSONObject([("text", index.textAEI.json), (index.medium.rawValue, index.mediumAEI.json)]))
        ),
        (
          "log_share_ratio",
          layered(
            index.split, { $0.json },
            byLayer: .array(
              zip(context.definition.layers, index.split.byLayer).map { layer, split in
                .object(JSONObject([("layer", .integer(layer))] + split.members))
              }), first: "all")
        ),
        ("sink_fraction", index.sinkFraction.json),
      ]))
  }

  /// An index over all layers (its members spread out where `first` is "mean") and over groups of layers.
  private func layered<Value>(
    _ value: Layered<Value>, _ json: (Value) -> JSONValue, byLayer: JSONValue, first: String
  ) -> JSONValue {
    var object = JSONObject()
    let all = json(value.all)
    if first == "mean", let members = all.objectValue {
      object = members
    } else {
      object["all"] = all
    }
    object["early"] = json(value.early)
    object["middle"] = json(value.middle)
    object["late"] = json(value.late)
    object["by_layer"] = byLayer
    return .object(object)
  }

  private func partMembers(_ part: Part) -> [(String, JSONValue)] {
    let names = groups.map(\.name)
    let byGroup = names.indices.map { group -> (String, JSONValue) in
      (names[group], ["share": part.shares[group].json, "efficiency": part.efficiencies[group].json])
    }
    let byMedium = media.indices.map { medium -> (String, JSONValue) in
      (media[medium].rawValue, ["mdi": part.mdi[medium].json, "content": part.content[medium].json])
    }
    return [
      ("n", .integer(part.count)), ("groups", .object(JSONObject(byGroup))),
      ("indices", .object(JSONObject(byMedium))),
    ]
  }

  private func tagJSON(_ tag: TagPart) -> JSONValue {
    .object(JSONObject([("tag", .string(tag.tag)), ("value", .string(tag.value))] + partMembers(tag.part)))
  }

  private func stratumJSON(_ stratum: Stratum) -> JSONValue {
    let tokens: JSONValue = [.integer(stratum.tokens.lowerBound), .integer(stratum.tokens.upperBound)]
    return .object(
      JSONObject(
        [("modality", .string(stratum.medium.rawValue)), ("tokens", tokens)] + partMembers(stratum.part)))
  }

  private func positionJSON(_ place: Int, _ position: QueryPosition) -> JSONValue {
    [
      "position": .integer(place), "n": .integer(position.count),
      "share": .object(JSONObject(zip(groups, position.shares).map { ($0.name, JSONValue($1)) })),
    ]
  }

  private var headsJSON: JSONValue {
    let definition = context.definition
    return [
      "file": "stats.npz", "array": "share.mean",
      "shape": [
        .integer(definition.layers.count), .integer(definition.heads.count),
        .integer(definition.groups.count),
      ],
    ]
  }

  private func sinkJSON(_ sink: Sink) -> JSONValue {
    [
      "group": .string(groups[sink.group].name), "position": .integer(sink.row), "piece": .string(sink.piece),
      "n": .integer(sink.sampleCount), "rate": JSONValue(sink.rate),
    ]
  }
}

extension Estimate {
  /// mean, ci, sd, n and n_undefined.
  var members: [(String, JSONValue)] {
    let ci: JSONValue = low == nil || high == nil ? .null : [JSONValue(low), JSONValue(high)]
    return [
      ("mean", JSONValue(mean)), ("ci", ci), ("sd", JSONValue(standardDeviation)), ("n", .integer(count)),
      ("n_undefined", .integer(undefinedCount)),
    ]
  }

  var json: JSONValue { .object(JSONObject(members)) }
}

extension AttentionSummary.Split {
  var members: [(String, JSONValue)] {
    [("ratio", shares.json), ("count", counts.json), ("content", content.json)]
  }

  var json: JSONValue { .object(JSONObject(members)) }
}

extension AttentionSummary.Warning {
  var json: JSONValue {
    ["code": .string(code), "level": .string(level.rawValue), "message": .string(message)]
  }
}
