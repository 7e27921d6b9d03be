import Foundation

/// Feeds changed files to every reader of the project and watches for crashes, hangs and waste.
///
///     FuzzHarness --cases 10000 --seed 1                  all readers
///     FuzzHarness --cases 2000 --seed 1 --target npz      one reader
///     FuzzHarness --case 4711 --seed 1                    one case again, files kept
///     FuzzHarness --self-check 1 --cases 5                readers with faults, each of which must be found
///     FuzzHarness --list-errors                           the error types under test, and those left out with the reason
@main
struct FuzzHarness {
  private var caseCount = 10_000
  private var seed: UInt64 = 1
  private var onlyTarget: String?
  private var onlyCase: Int?
  private var isWorker = false
  private var isSelfCheck = false
  private var listsErrors = false
  private var folder: String?

  static func main() throws {
    // A worker that dies must not take the driver along.
    signal(SIGPIPE, SIG_IGN)
    let harness = try FuzzHarness(arguments: Array(CommandLine.arguments.dropFirst()))
    guard try harness.run() else { exit(1) }
  }

  private init(arguments: [String]) throws {
    var arguments = arguments[...]
    while let option = arguments.popFirst() {
      if option == "--worker" {
        isWorker = true
        continue
      }
      if option == "--list-errors" {
        listsErrors = true
        continue
      }
      guard let value = arguments.popFirst() else { throw FuzzFailure(message: "\(option) needs a value") }
      switch option {
      case "--cases": caseCount = try Self.number(value, option)
      case "--case": onlyCase = try Self.number(value, option)
      case "--seed": seed = UInt64(try Self.number(value, option))
      case "--self-check": isSelfCheck = value == "1"
      case "--folder": folder = value
      case "--target": onlyTarget = value
      default: throw FuzzFailure(message: "\(option) is not an option; see the top of FuzzHarness.swift")
      }
    }
  }

  private static func number(_ text: String, _ option: String) throws -> Int {
    guard let number = Int(text), number >= 0 else {
      throw FuzzFailure(message: "\(option): found \(text), expected a number of 0 or more")
    }
    return number
  }

  private func run() throws -> Bool {
    if listsErrors {
      for type in FuzzTarget.all.flatMap(\.errors) { print("\(type)") }
      for (name, reason) in FuzzTarget.exemptErrors.sorted(by: { $0.key < $1.key }) {
        print("\(name) exempt: \(reason)")
      }
      return true
    }
    let targets = isSelfCheck ? FuzzTarget.faulty : FuzzTarget.all
    let folder =
      self.folder ?? "\(NSTemporaryDirectory())mmprobe-fuzz-\(ProcessInfo.processInfo.processIdentifier)"
    let worker = FuzzWorker(seed: seed, targets: targets, folder: folder)
    if let onlyCase {
      print(try worker.runCase(onlyCase))
      print(FuzzWorker.description { try targets[onlyCase % targets.count].read(folder) })
      print("files in \(folder)")
      return true
    }
    if isWorker {
      try worker.run()
      return true
    }
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let driver = FuzzDriver(
      targets: targets,
      workerArguments: [
        "--worker", "--seed", "\(seed)", "--folder", folder, "--self-check", isSelfCheck ? "1" : "0",
      ])
    return try driver.run(cases: caseNumbers(targets), requiresAllCodes: onlyTarget == nil && !isSelfCheck)
  }

  /// The numbers of the cases to run; the remainder by the number of targets says which target a case is for.
  private func caseNumbers(_ targets: [FuzzTarget]) throws -> [Int] {
    guard let onlyTarget else { return Array(0..<caseCount) }
    guard let index = targets.firstIndex(where: { $0.name == onlyTarget }) else {
      throw FuzzFailure(message: "no target \(onlyTarget) among \(targets.map(\.name))")
    }
    return (0..<caseCount).map { $0 * targets.count + index }
  }
}
