import Foundation

/// What can be said of this machine without any tool.
public enum MachineFacts {
  /// The name of the processor, or "unknown".
  public static var processor: String { value(of: "model name", in: processorText) ?? "unknown" }

  /// The instruction sets that matter here and that the processor has, in a fixed order.
  public static var instructionSets: [String] {
    let text = value(of: "flags", in: processorText) ?? value(of: "Features", in: processorText) ?? ""
    let flags = Set(text.split(separator: " ").map(String.init))
    return [
      "sse4_2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512bw", "avx512vl", "avx512_bf16", "amx_bf16",
      "asimd", "sve",
    ].filter(flags.contains)
  }

  /// Cores this process may use.
  public static var coreCount: Int { ProcessInfo.processInfo.activeProcessorCount }

  /// All memory in bytes; nil where the system does not say.
  public static var memory: Int? { bytes(of: "MemTotal", in: "/proc/meminfo") }

  /// Memory in bytes that programs can still get; nil where the system does not say.
  ///
  /// No more than the limits of this process leave: its address space (`ulimit -v`) and its control group.
  public static var availableMemory: Int? {
    [bytes(of: "MemAvailable", in: "/proc/meminfo"), addressSpaceLeft, controlGroupLeft].compactMap { $0 }
      .min()
  }

  private static var addressSpaceLeft: Int? {
    let line = text("/proc/self/limits").split(separator: "\n").first { $0.hasPrefix("Max address space") }
    guard let limit = line?.split(separator: " ").dropFirst(3).first.flatMap({ Int($0) }),
      let used = bytes(of: "VmSize", in: "/proc/self/status")
    else { return nil }
    return max(0, limit - used)
  }

  /// Of version 2, where page cache that can be given back is no use of memory.
  private static var controlGroupLeft: Int? {
    guard let line = text("/proc/self/cgroup").split(separator: "\n").first(where: { $0.hasPrefix("0::/") })
    else { return nil }
    let folder = "/sys/fs/cgroup" + line.dropFirst("0::".count)
    func number(_ name: String) -> Int? {
      Int(text(folder + "/" + name).trimmingCharacters(in: .whitespacesAndNewlines))
    }
    guard let limit = number("memory.max"), let used = number("memory.current") else { return nil }
    let lines = text(folder + "/memory.stat").split(separator: "\n")
    let cache = lines.first { $0.hasPrefix("inactive_file ") }?.split(separator: " ").last.flatMap { Int($0) }
    return max(0, limit - used + (cache ?? 0))
  }

  /// The path of a program on the search path, or nil.
  public static func program(_ name: String) -> String? {
    let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
    return folders.map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
  }

  private static var processorText: String { text("/proc/cpuinfo") }

  private static func text(_ path: String) -> String {
    (try? FileReader.text(of: URL(fileURLWithPath: path), limit: 1 << 24)) ?? ""
  }

  private static func bytes(of key: String, in file: String) -> Int? {
    guard let words = value(of: key, in: text(file))?.split(whereSeparator: \.isWhitespace),
      let first = words.first,
      let count = Int(first)
    else { return nil }
    let (bytes, overflows) = count.multipliedReportingOverflow(by: 1024)
    return overflows ? nil : bytes
  }

  /// What follows `key` and a colon on the first line that begins with it.
  private static func value(of key: String, in text: String) -> String? {
    for line in text.split(separator: "\n") where line.hasPrefix(key) {
      let parts = line.split(separator: ":", maxSplits: 1)
      guard parts.count == 2, parts[0].drop(while: { $0 == " " }).hasPrefix(key) else { continue }
      let name = parts[0].split(whereSeparator: { $0 == " " || $0 == "\t" }).joined(separator: " ")
      if name == key { return parts[1].drop { $0 == " " }.description }
    }
    return nil
  }
}
