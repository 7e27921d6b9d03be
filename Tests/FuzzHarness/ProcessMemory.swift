import Foundation

/// The peak of this process's resident memory.
enum ProcessMemory {
  /// Lets the peak begin again at what is resident now.
  static func resetPeak() {
    let handle = FileHandle(forWritingAtPath: "/proc/self/clear_refs")
    // Where the kernel does not allow it, the peak stays that of the whole life: stricter, not laxer.
    try? handle?.write(contentsOf: Data("5".utf8))
    try? handle?.close()
  }

  /// The peak since the last reset, in kilobytes of 1,024 bytes.
  static func peakKilobytes() -> Int {
    guard let handle = FileHandle(forReadingAtPath: "/proc/self/status"),
      let data = try? handle.readToEnd(),
      let line = String(decoding: data, as: UTF8.self).split(separator: "\n").first(where: {
        $0.hasPrefix("VmHWM:")
      })
    else { return 0 }
    return Int(line.filter(\.isNumber)) ?? 0
  }
}
