import Foundation
import RunKit

/// The parent process: sends cases to a worker, starts another when it dies, and judges the whole run.
final class FuzzDriver {
  /// The longest time one case may take.
  static let limitSeconds = 5
  /// The most resident memory above that of an idle worker.
  static let limitKilobytes = 300 * 1_024

  private let targets: [FuzzTarget]
  private let workerArguments: [String]
  private var worker: WorkerProcess?
  private var idleKilobytes = 0

  private var counts: [String: [String: Int]] = [:]
  /// Microseconds that reading took, by target.
  private var times: [String: Int] = [:]
  private var failures: [String] = []
  private var structureChanges = 0
  private var dataChanges = 0
  private var slowest = (microseconds: 0, caseNumber: 0)
  private var largest = (kilobytes: 0, caseNumber: 0)

  init(targets: [FuzzTarget], workerArguments: [String]) {
    self.targets = targets
    self.workerArguments = workerArguments
  }

  /// Runs the cases and prints what came out; true if nothing failed.
  ///
  /// - Parameter requiresAllCodes: Whether a code that never came up is a failure.
  func run(cases: [Int], requiresAllCodes: Bool) throws -> Bool {
    var waiting = cases[...]
    // With many failures something is wrong with everything; the first say what.
    while !waiting.isEmpty && failures.count < 20 { try runSome(of: &waiting) }
    worker?.close()
    printTable()
    if requiresAllCodes { reportMissingCodes() }
    let changes = structureChanges + dataChanges
    let share = changes == 0 ? 100 : 100 * structureChanges / changes
    if share < 80 { failures.append("only \(share) % of the changes met structure, expected 80 %") }
    print("\(cases.count) cases; \(share) % of \(changes) changes in headers, JSON and offsets")
    print("slowest \(slowest.microseconds / 1_000) ms (case \(slowest.caseNumber))")
    print("most memory \(largest.kilobytes / 1_024) MB above idle (case \(largest.caseNumber))")
    for failure in failures { print("FAILED: \(failure)") }
    print(failures.isEmpty ? "passed" : "\(failures.count) failures")
    return failures.isEmpty
  }

  /// Runs the next cases and takes those that were answered, or ended the worker, from the front.
  private func runSome(of waiting: inout ArraySlice<Int>) throws {
    let worker = try readyWorker()
    // Several at once, or both processes would mostly wait for each other.
    let sent = waiting.prefix(50)
    worker.send(sent)
    for number in sent {
      waiting.removeFirst()
      guard let answer = worker.nextLine(seconds: Self.limitSeconds) else {
        failures.append("case \(number) (\(targets[number % targets.count].name)): \(worker.waitForEnd())")
        self.worker = nil
        return
      }
      judge(number, answer)
    }
  }

  private func judge(_ number: Int, _ answer: String) {
    let fields = answer.split(separator: " ").map(String.init)
    guard fields.count == 7, fields[0] == "\(number)", let microseconds = Int(fields[3]),
      let peak = Int(fields[4]), let structure = Int(fields[5]), let data = Int(fields[6])
    else {
      failures.append("case \(number): the worker answered \"\(answer)\"")
      return
    }
    counts[fields[1], default: [:]][fields[2], default: 0] += 1
    times[fields[1], default: 0] += microseconds
    structureChanges += structure
    dataChanges += data
    if microseconds > slowest.microseconds { slowest = (microseconds, number) }
    if peak - idleKilobytes > largest.kilobytes { largest = (peak - idleKilobytes, number) }
    if fields[2].hasPrefix("!") { failures.append("case \(number) (\(fields[1])): \(fields[2])") }
    if peak - idleKilobytes > Self.limitKilobytes {
      failures.append("case \(number) (\(fields[1])): \((peak - idleKilobytes) / 1_024) MB above idle")
    }
  }

  private func readyWorker() throws -> WorkerProcess {
    if let worker { return worker }
    let worker = try WorkerProcess(arguments: workerArguments)
    let answer = worker.nextLine(seconds: 60) ?? worker.waitForEnd()
    guard answer.hasPrefix("ready "), let idle = Int(answer.dropFirst(6)) else {
      throw FuzzFailure(message: "the worker did not become ready: \(answer)")
    }
    idleKilobytes = idle
    self.worker = worker
    return worker
  }

  private func printTable() {
    for target in targets {
      guard let outcomes = counts[target.name] else { continue }
      let seconds = Double(times[target.name] ?? 0) / 1e6
      print("\(target.name): \(outcomes.values.reduce(0, +)) cases, \(Decimals.text(seconds, places: 1)) s")
      for (outcome, count) in outcomes.sorted(by: { ($1.value, $0.key) < ($0.value, $1.key) }) {
        print("  \(count)\t\(outcome)")
      }
    }
  }

  private func reportMissingCodes() {
    let found = Set(counts.values.flatMap(\.keys))
    var missing: [String] = []
    for code in targets.flatMap(\.codes) where !found.contains(code) && !missing.contains(code) {
      missing.append(code)
    }
    if !missing.isEmpty { failures.append("never came up: \(missing.joined(separator: ", "))") }
  }
}

/// Why the harness itself cannot go on.
struct FuzzFailure: LocalizedError {
  let message: String
  var errorDescription: String? { message }
}
