import TensorCore

/// How predictions agree with labels.
struct Classification: Equatable {
  /// Counts, `[true class][predicted class]`.
  let confusion: [[Int]]

  /// Counts predictions.
  init(predictions: [Int], labels: [Int], classes: Int) {
    require(predictions.count == labels.count, "\(predictions.count) predictions for \(labels.count) labels")
    var counts = Array(repeating: [Int](repeating: 0, count: classes), count: classes)
    for (prediction, label) in zip(predictions, labels) { counts[label][prediction] += 1 }
    confusion = counts
  }

  /// The class with the largest logit of each row; the lowest of equal ones.
  static func predictions(_ logits: Tensor) -> [Int] {
    logits.hostRows().map { row in row.indices.dropFirst().reduce(0) { row[$1] > row[$0] ? $1 : $0 } }
  }

  /// The share of right predictions.
  static func accuracy(_ predictions: [Int], _ labels: [Int]) -> Double {
    Double(zip(predictions, labels).count { $0 == $1 }) / Double(max(1, labels.count))
  }

  private var total: Int { confusion.reduce(0) { $0 + $1.reduce(0, +) } }

  /// The share of right predictions.
  var accuracy: Double {
    Double(confusion.indices.reduce(0) { $0 + confusion[$1][$1] }) / Double(max(1, total))
  }

  /// True positives over predictions of each class; 0 without predictions.
  var precision: [Double] {
    confusion.indices.map { c in Self.ratio(confusion[c][c], confusion.reduce(0) { $0 + $1[c] }) }
  }

  /// True positives over samples of each class; 0 without samples.
  var recall: [Double] {
    confusion.indices.map { Self.ratio(confusion[$0][$0], confusion[$0].reduce(0, +)) }
  }

  /// 2 P R / (P + R) of each class; 0 where both are 0.
  var f1: [Double] {
    zip(precision, recall).map { $0 + $1 > 0 ? 2 * $0 * $1 / ($0 + $1) : 0 }
  }

  /// The mean of F over all classes, absent ones included.
  var macroF1: Double { f1.reduce(0, +) / Double(max(1, f1.count)) }

  private static func ratio(_ part: Int, _ whole: Int) -> Double {
    whole > 0 ? Double(part) / Double(whole) : 0
  }
}
