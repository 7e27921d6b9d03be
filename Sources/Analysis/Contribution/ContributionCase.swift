import Foundation
import TensorCore
import TokenModel

/// One sample ready to be explained: its prompt, the rows of it, and the piece whose target is asked for.
struct ContributionCase {
  let model: any LanguageModel
  let tokenizer: any Tokenizer
  let definition: AttentionDefinition
  let contribution: ContributionDefinition
  let prompt: Prompt
  /// `[rows, hidden]`.
  let embeddings: Tensor
  /// The first piece of the reference answer, if that is what is explained.
  let answerID: Int?

  var decoder: LLaMADecoder { model.decoder }
  var roles: [Role] { prompt.spans.roles }
  var context: TokenContext { TokenContext([prompt]) }

  /// The rows of a role.
  func rows(of role: Role) -> [Int] { roles.indices.filter { roles[$0] == role } }

  /// For each row the position of its group.
  var groupOfRow: [Int] {
    let groups = Dictionary(
      definition.groups.enumerated().flatMap { index, group in group.roles.map { ($0, index) } },
      uniquingKeysWith: { first, _ in first })
    return roles.map { groups[$0] ?? -1 }
  }

  /// What is explained, from the logits of the full prompt.
  func target(_ logits: [Float]) -> TargetFunction {
    let prediction = TargetFunction.strongest(logits, except: nil)
    let id = answerID ?? prediction
    return TargetFunction(
      target: contribution.target, id: id, rival: TargetFunction.strongest(logits, except: id),
      prediction: prediction)
  }

  /// The target on the full prompt, for the record.
  func record(_ target: TargetFunction, _ logits: [Float]) -> Contribution.Target {
    Contribution.Target(
      id: target.id, piece: tokenizer.piece(target.id) ?? "<\(target.id)>", value: target.value(logits),
      probability: exp(target.logProbability(logits)), isPrediction: target.id == target.prediction)
  }

  /// Sums of a value of each row over the groups, in the order of the rows.
  func groupSums(_ values: [Double]) -> [Double] {
    var sums = [Double](repeating: 0, count: definition.groups.count)
    for (row, group) in groupOfRow.enumerated() where group >= 0 { sums[group] += values[row] }
    return sums
  }
}

/// The number that is explained, as a function of one row of logits. Sums are in Float64.
struct TargetFunction {
  let target: ContributionDefinition.Target
  /// The piece.
  let id: Int
  /// The strongest other piece on the full prompt, for the margin.
  let rival: Int
  /// The strongest piece on the full prompt.
  let prediction: Int

  func value(_ logits: [Float]) -> Double {
    switch target {
    case .logit: Double(logits[id])
    case .logProbability: logProbability(logits)
    case .margin: Double(logits[id]) - Double(logits[rival])
    }
  }

  /// ln p of the piece.
  func logProbability(_ logits: [Float]) -> Double { Double(logits[id]) - logSumExp(logits) }

  /// The probabilities of all pieces.
  func probabilities(_ logits: [Float]) -> [Double] {
    let normalizer = logSumExp(logits)
    return logits.map { exp(Double($0) - normalizer) }
  }

  private func logSumExp(_ logits: [Float]) -> Double {
    let most = Double(logits.max() ?? 0)
    return most + log(logits.reduce(0) { $0 + exp(Double($1) - most) })
  }

  /// The first of the largest logits.
  static func strongest(_ logits: [Float], except id: Int?) -> Int {
    var best = -1
    for index in logits.indices where index != id && (best < 0 || logits[index] > logits[best]) {
      best = index
    }
    return max(0, best)
  }
}
