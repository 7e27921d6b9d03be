import Foundation
import RunKit

/// The child process: makes and reads one case after the other and reports each in a line.
///
/// It receives case numbers, one a line, and answers
/// `number target outcome microseconds peakKilobytes structureChanges dataChanges`.
struct FuzzWorker {
  let seed: UInt64
  let targets: [FuzzTarget]
  /// A folder of this process, for the files of the current case.
  let folder: String

  /// What reading gave, as one word: `ok`, the code of a described error, or `!` and what is wrong.
  static func outcome(of read: () throws -> Void) -> String {
    do {
      try read()
      return "ok"
    } catch let error as any DescribedError {
      return word(for: error)
    } catch {
      return "!not_described:\(type(of: error))"
    }
  }

  /// What reading gave, in full, for a person who runs one case again.
  static func description(of read: () throws -> Void) -> String {
    do {
      try read()
      return "ok"
    } catch let error as any DescribedError {
      return "\(error.localizedDescription)\nremedy: \(error.recoverySuggestion ?? "none")"
    } catch {
      return "\(error)"
    }
  }

  private static func word<Described: DescribedError>(for error: Described) -> String {
    let message = error.localizedDescription
    // Names and values out of files are cut: a message is for a person.
    if message.isEmpty || message.utf8.count > 2_000 { return "!message_length:\(error.code.rawValue)" }
    if message.unicodeScalars.contains(where: { $0.value < 0x20 }) {
      return "!message_controls:\(error.code.rawValue)"
    }
    if error.recoverySuggestion?.isEmpty != false { return "!no_remedy:\(error.code.rawValue)" }
    return error.code.rawValue
  }

  /// Answers case numbers until the input ends.
  func run() throws {
    try checkSeeds()
    ProcessMemory.resetPeak()
    report("ready \(ProcessMemory.peakKilobytes())")
    while let line = readLine() {
      guard let number = Int(line) else { continue }
      report(try runCase(number))
    }
  }

  /// Makes and reads one case.
  func runCase(_ number: Int) throws -> String {
    let target = targets[number % targets.count]
    var random = FuzzRandom(seed: seed, caseNumber: number)
    let made = target.makeCase(turn: number / targets.count, &random)
    try emptyFolder()
    try made.files.lay(in: folder)
    ProcessMemory.resetPeak()
    let start = DispatchTime.now().uptimeNanoseconds
    let outcome = Self.outcome { try target.read(folder) }
    let microseconds = (DispatchTime.now().uptimeNanoseconds - start) / 1_000
    let peak = ProcessMemory.peakKilobytes()
    return "\(number) \(target.name) \(outcome.replacing(" ", with: "_")) \(microseconds) \(peak) "
      + "\(made.structureChanges) \(made.dataChanges)"
  }

  /// Every seed must be read without an error, or changes to it would test little.
  private func checkSeeds() throws {
    for target in targets {
      for (index, seed) in target.seeds.enumerated() {
        try emptyFolder()
        try seed.lay(in: folder)
        do {
          try target.read(folder)
        } catch {
          report("bad-seed \(target.name) \(index) \(error.localizedDescription)")
          return
        }
      }
    }
  }

  private func emptyFolder() throws {
    try? FileManager.default.removeItem(atPath: folder)
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  }

  private func report(_ line: String) {
    FileHandle.standardOutput.write(Data((line + "\n").utf8))
  }
}
