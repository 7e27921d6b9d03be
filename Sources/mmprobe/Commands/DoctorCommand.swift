import Analysis
import RunKit
import TensorCore

/// `mmprobe doctor`: what this machine offers.
struct DoctorCommand: Command {
  static let name = "doctor"
  static let summary = "processor, memory, libraries, and a short speed test"
  static let discussion = """
    Says what mmprobe finds on this machine and how fast it multiplies matrices,
    with all threads and with one. Takes about two seconds.
    """
  static let positionals: [Positional] = []
  static let options: [OptionDeclaration] = []
  static let examples = [Example(purpose: "Look at this machine", line: "doctor")]

  init(_ arguments: Arguments) throws(UsageError) {}

  func run(_ session: Session) throws -> ExitStatus {
    let speed = SpeedTest()
    let ffmpeg = MachineFacts.program("ffmpeg")
    if session.console.wantsJSON {
      try session.console.document([
        "version": .string(Version.number), "processor": .string(MachineFacts.processor),
        "instruction_sets": .array(MachineFacts.instructionSets.map(JSONValue.string)),
        "cores": .integer(MachineFacts.coreCount), "threads": .integer(Workers.threadCount),
        "memory_bytes": MachineFacts.memory.map(JSONValue.integer) ?? .null,
        "available_memory_bytes": MachineFacts.availableMemory.map(JSONValue.integer) ?? .null,
        "blas": .string(BuildFacts.blasConfiguration), "ffmpeg": ffmpeg.map(JSONValue.string) ?? .null,
        "gflops": .number(speed.gigaflops), "gflops_one_thread": .number(speed.gigaflopsOfOneThread),
      ])
      return .success
    }
    let memory = MachineFacts.memory.map(ByteCount.text) ?? "unknown"
    let available = MachineFacts.availableMemory.map { ", \(ByteCount.text($0)) available" } ?? ""
    try session.console.write(
      """
      mmprobe        \(Version.number)
      processor      \(MachineFacts.processor)
      instructions   \(MachineFacts.instructionSets.joined(separator: " "))
      threads        \(Workers.threadCount) of \(MachineFacts.coreCount) cores
      memory         \(memory)\(available)
      BLAS           \(BuildFacts.blasConfiguration)
      ffmpeg         \(ffmpeg ?? "not found; it is not needed, but turns other media into the PGM, PPM and WAV files that can be read")
      matrix product \(Decimals.text(speed.gigaflops, places: 1)) GFLOP/s, one thread \
      \(Decimals.text(speed.gigaflopsOfOneThread, places: 1)) GFLOP/s

      """)
    return .success
  }
}
