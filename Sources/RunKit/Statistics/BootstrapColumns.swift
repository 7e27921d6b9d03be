/// Means of many columns over the same resamples.
///
/// One replicate of all columns is a vector times a matrix: the weights of the units times their sums,
/// `[units] · [units, columns]`. Four replicates and four columns go together, so that an inner step loads four
/// sums and four weights and makes sixteen products, kept in registers.
extension Bootstrap {
  /// The intervals of the means of all columns of a matrix.
  ///
  ///     Σ wₖ Sₖ / Σ wₖ Nₖ,   Sₖ = Σ vᵢ xᵢ and Nₖ = Σ vᵢ over the samples i of unit k
  ///
  /// with the weight vᵢ of a value, 1 if none are given.
  ///
  /// - Parameters:
  ///   - values: x, `[samples, columns]`, row-major.
  ///   - columns: The number of columns, at least 1.
  ///   - valueWeights: v, `[samples, columns]`, at least 0 each: 0 for a value that is missing (it may then be NaN), or
  ///     how many tokens it stands for. nil for all ones.
  ///   - clusters: The cluster of each sample, or nil if the samples are independent.
  /// - Returns: One interval for each column; nil for fewer than two units, values that are not finite, or a
  ///   replicate in which all weights are 0.
  public func columnMeans(
    of values: [Double], columns: Int, valueWeights: [Double]? = nil, clusters: Clusters? = nil
  ) -> [ConfidenceInterval?] {
    precondition(columns >= 1 && values.count % columns == 0, "\(values.count) values in \(columns) columns")
    precondition(valueWeights.map { $0.count == values.count } ?? true, "a weight for each value")
    let sampleCount = values.count / columns
    let unitCount = checkedUnitCount(sampleCount, clusters)
    guard unitCount >= 2 else { return [ConfidenceInterval?](repeating: nil, count: columns) }
    let units = clusters?.indices ?? Array(0..<sampleCount)
    var unitSizes = [Double](repeating: 0, count: unitCount)
    for unit in units { unitSizes[unit] += 1 }
    var intervals: [ConfidenceInterval?] = []
    intervals.reserveCapacity(columns)
    // Blocks bound the memory of the replicates; drawing the weights again for each costs little beside them.
    for start in stride(from: 0, to: columns, by: Self.columnsPerBlock) {
      let block = start..<min(start + Self.columnsPerBlock, columns)
      var sums = Panels(columns: block.count, units: unitCount)
      var weightSums = valueWeights.map { _ in Panels(columns: block.count, units: unitCount) }
      for (sample, unit) in units.enumerated() {
        for column in block {
          let index = sample * columns + column
          if let weight = valueWeights?[index] {
            if weight == 0 { continue }
            sums.add(weight * values[index], column: column - start, unit: unit)
            weightSums?.add(weight, column: column - start, unit: unit)
          } else {
            sums.add(values[index], column: column - start, unit: unit)
          }
        }
      }
      intervals += blockIntervals(sums, weightSums, unitSizes)
    }
    return intervals
  }

  private static let columnsPerBlock = 256

  private func blockIntervals(
    _ sums: Panels, _ weightSums: Panels?, _ unitSizes: [Double]
  ) -> [ConfidenceInterval?] {
    let unitCount = unitSizes.count
    var means = [[Double]](repeating: [], count: sums.columns)
    for column in means.indices { means[column].reserveCapacity(replicates + 3) }
    var weights = [Double](repeating: 0, count: unitCount)
    var quads = [SIMD4<Double>](repeating: .zero, count: unitCount)
    for first in stride(from: 0, to: replicates, by: 4) {
      for lane in 0..<4 {
        draw(replicate: first + lane, into: &weights)
        for unit in 0..<unitCount { quads[unit][lane] = weights[unit] }
      }
      append(ratios: sums, weightSums, unitSizes, quads, to: &means)
    }
    // The estimate is the replicate that draws every unit once.
    var estimates = [[Double]](repeating: [], count: sums.columns)
    let ones = [SIMD4<Double>](repeating: .one, count: unitCount)
    append(ratios: sums, weightSums, unitSizes, ones, to: &estimates)
    return means.indices.map { column in
      interval(estimates[column][0], Array(means[column].prefix(replicates)), unitCount: unitCount)
    }
  }

  /// Adds four replicates of each column to `means`.
  private func append(
    ratios sums: Panels, _ weightSums: Panels?, _ unitSizes: [Double], _ quads: [SIMD4<Double>],
    to means: inout [[Double]]
  ) {
    var sizes = SIMD4<Double>.zero
    for unit in quads.indices { sizes += quads[unit] * unitSizes[unit] }
    for panel in 0..<sums.panelCount {
      let numerators = sums.products(with: quads, panel: panel)
      let denominators = weightSums?.products(with: quads, panel: panel)
      for lane in 0..<4 where 4 * panel + lane < sums.columns {
        for replicate in 0..<4 {
          let size = denominators.map { $0[replicate][lane] } ?? sizes[replicate]
          means[4 * panel + lane].append(numerators[replicate][lane] / size)
        }
      }
    }
  }
}

/// A matrix `[units, columns]` stored as panels of four columns, each with its units one after the other.
private struct Panels {
  let columns: Int
  let units: Int
  private var elements: [SIMD4<Double>]

  init(columns: Int, units: Int) {
    self.columns = columns
    self.units = units
    elements = [SIMD4<Double>](repeating: .zero, count: (columns + 3) / 4 * units)
  }

  var panelCount: Int { (columns + 3) / 4 }

  mutating func add(_ value: Double, column: Int, unit: Int) {
    elements[column / 4 * units + unit][column % 4] += value
  }

  /// The products of four weight vectors with the four columns of a panel: `[replicate][column]`.
  func products(with quads: [SIMD4<Double>], panel: Int) -> InlineArray<4, SIMD4<Double>> {
    var (first, second, third, fourth) = (
      SIMD4<Double>.zero, SIMD4<Double>.zero, SIMD4<Double>.zero, SIMD4<Double>.zero
    )
    let start = panel * units
    for unit in 0..<units {
      let sums = elements[start + unit]
      let weights = quads[unit]
      first += sums * weights.x
      second += sums * weights.y
      third += sums * weights.z
      fourth += sums * weights.w
    }
    return [first, second, third, fourth]
  }
}
