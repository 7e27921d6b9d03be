import RunKit

extension FuzzTarget {
  /// Readers with the faults that the harness is there to find; it must report each (`--self-check 1`).
  static let faulty: [FuzzTarget] = [
    faulty("trap") { bytes in _ = bytes[bytes.count] },
    faulty("hang") { _ in while true {} },
    faulty("memory") { _ in
      let waste = [UInt8](repeating: 1, count: 400 << 20)
      if waste.last == 0 { throw FuzzFailure(message: "never") }
    },
    faulty("foreign-error") { _ in throw FuzzFailure(message: "not a described error") },
    faulty("long-message") { _ in throw Plain.long },
  ]

  /// A reader that does this to every file but its seed.
  private static func faulty(_ name: String, _ fault: @escaping @Sendable ([UInt8]) throws -> Void)
    -> FuzzTarget
  {
    let seed: [UInt8] = Array(name.utf8)
    return FuzzTarget(
      name, errors: [Plain.self], seeds: [[FuzzFile("file", seed, .binary(headerCount: 8))]],
      directed: [{ _ in [FuzzFile("file", seed + [0], .binary(headerCount: 8))] }],
      read: { folder in
        let bytes = try FuzzTarget.contents("\(folder)/file")
        if bytes != seed { try fault(bytes) }
      })
  }

  private enum Plain: DescribedError {
    case long
    enum Code: String, CaseIterable { case long }
    var code: Code { .long }
    var errorDescription: String? { String(repeating: "x", count: 3_000) }
    var recoverySuggestion: String? { "none" }
  }
}
