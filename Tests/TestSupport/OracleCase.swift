import Foundation
public import RunKit
public import TensorCore
import XCTest

/// One folder of reference values: `case.json` with the list of tensors and tolerances, and the tensors themselves.
///
/// Every tensor the case lists must be asked for by the test: `finish` fails on those that were not, and says how many
/// tensors and elements were compared.
public final class OracleCase {
  /// The folder under Tests/Fixtures.
  public let name: String
  /// `case.json`.
  public let description: JSONValue
  /// The reference tensors.
  public let file: SafetensorsFile
  private var compared: [String: Int] = [:]
  private var worst: [String: Double] = [:]
  private var used: Set<String> = []

  /// Opens the folder `name`.
  public init(_ name: String) throws {
    self.name = name
    description = try JSONValue(parsing: Data(contentsOf: Fixtures.url("\(name)/case.json")))
    file = try SafetensorsFile(path: Fixtures.url("\(name)/expected.safetensors").path)
  }

  /// The names of the tensors that the case lists.
  public var listed: [String] { description["tensors"]?.objectValue?.keys ?? [] }

  /// An input or reference tensor.
  public func stored(_ name: String) throws -> StoredTensor {
    used.insert(name)
    return try file.tensor(name)
  }

  /// An input; counted as used, not as compared.
  public func integers(_ name: String) throws -> [Int] { try stored(name).integers() }

  /// Compares values with a listed tensor, element by element; NaN and another count fail.
  ///
  /// - Parameter isReal: Whether an element is compared; elements of padding are not.
  public func compare(
    _ values: [Float], with name: String, absolute tolerance: Double, isReal: (Int) -> Bool = { _ in true },
    file: StaticString = #filePath, line: UInt = #line
  ) throws {
    let expected = try self.stored(name).doubles()
    guard values.count == expected.count else {
      return XCTFail(
        "\(self.name) \(name): \(values.count) values, expected \(expected.count)", file: file, line: line)
    }
    var (largest, place, count) = (0.0, 0, 0)
    for index in values.indices where isReal(index) {
      count += 1
      let difference = abs(Double(values[index]) - expected[index])
      // A comparison with NaN is false, so the test is for being within tolerance.
      guard difference <= tolerance else {
        return XCTFail(
          "\(self.name) \(name)[\(index)]: \(values[index]), expected \(expected[index]), tolerance \(tolerance)",
          file: file, line: line)
      }
      if difference > largest { (largest, place) = (difference, index) }
    }
    XCTAssertGreaterThan(count, 0, "\(self.name) \(name): nothing compared", file: file, line: line)
    _ = place
    compared[name] = count
    worst[name] = largest
  }

  /// Compares integers exactly.
  public func compare(
    _ values: [Int], with name: String, file: StaticString = #filePath, line: UInt = #line
  ) throws {
    XCTAssertEqual(values, try integers(name), "\(self.name) \(name)", file: file, line: line)
    compared[name] = values.count
  }

  /// Fails for every listed tensor that was neither compared nor used as an input, and prints what was done.
  ///
  /// - Parameter excusing: Tensors that belong to other parts of the project; they are named in the output.
  public func finish(
    excusing isExcused: (String) -> Bool = { _ in false }, file: StaticString = #filePath,
    line: UInt = #line
  ) {
    let missing = listed.filter { compared[$0] == nil && !used.contains($0) && !isExcused($0) }
    XCTAssertEqual(missing, [], "\(name): tensors not compared", file: file, line: line)
    let excused = listed.filter { compared[$0] == nil && isExcused($0) }
    let largest = worst.max { $0.value < $1.value }
    print(
      "oracle \(name): \(compared.count) tensors, \(compared.values.reduce(0, +)) elements compared; "
        + "largest difference \(largest?.value ?? 0) in \(largest?.key ?? "none"); inputs \(used.subtracting(compared.keys).count)"
        + (excused.isEmpty ? "" : "; for later parts: \(excused.joined(separator: " "))"))
  }
}
