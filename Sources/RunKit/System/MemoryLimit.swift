import Synchronization

/// The memory this process may use, mapped files included, if the user set a limit.
public enum MemoryLimit {
  private static let value = Atomic<Int>(0)

  /// Bytes; nil for no limit. Set once before computing.
  public static var bytes: Int? {
    get {
      let bytes = value.load(ordering: .relaxed)
      return bytes > 0 ? bytes : nil
    }
    set { value.store(newValue ?? 0, ordering: .relaxed) }
  }

  /// Bytes that this process can still take: what the limit leaves, and no more than the system has.
  public static var available: Int {
    let free = MachineFacts.availableMemory ?? 0
    return bytes.map { min(free, max(0, $0 - ProcessMemory.current.resident)) } ?? free
  }

  /// Checks that the process never took more than it may.
  ///
  /// - Throws: `MemoryLimitError.exceeded`.
  public static func check() throws(MemoryLimitError) {
    guard let bytes else { return }
    let peak = ProcessMemory.current.peakResident
    if peak > bytes { throw .exceeded(peak: peak, limit: bytes) }
  }

  /// Checks what a run is going to take.
  ///
  /// - Parameters:
  ///   - needed: Estimated bytes.
  ///   - what: What needs them, such as "a prompt of 640 tokens".
  /// - Throws: `MemoryLimitError.tooLittle`.
  public static func check(needed: Int, for what: String) throws(MemoryLimitError) {
    if let bytes, needed > bytes { throw .tooLittle(what: what, needed: needed, limit: bytes) }
  }
}

/// A limit of memory that does not do.
public enum MemoryLimitError: DescribedError {
  case tooLittle(what: String, needed: Int, limit: Int)
  case exceeded(peak: Int, limit: Int)
  case unavailable(what: String, needed: Int, available: Int)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case tooLittle = "memory_too_little"
    case exceeded = "memory_exceeded"
    case unavailable = "memory_unavailable"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .tooLittle: .tooLittle
    case .exceeded: .exceeded
    case .unavailable: .unavailable
    }
  }

  /// The limit is too small for what was asked.
  public var exitStatus: ExitStatus { .unsupported }

  /// What was wrong, and how much would do.
  public var errorDescription: String? {
    switch self {
    case .tooLittle(let what, let needed, let limit):
      "\(what) needs about \(ByteCount.text(needed)), --max-memory is \(ByteCount.text(limit))"
    case .exceeded(let peak, let limit):
      "\(ByteCount.text(peak)) of memory were used, --max-memory is \(ByteCount.text(limit))"
    case .unavailable(let what, let needed, let available):
      "\(what) needs more than \(ByteCount.text(needed)), \(ByteCount.text(available)) are free"
    }
  }

  /// What to do about it.
  public var recoverySuggestion: String? {
    switch self {
    case .unavailable: "train fewer parts, or take a smaller --rank"
    default:
      "give more memory, shorter prompts, a smaller --chunk or --batch, or a copy with fewer bits from 'mmprobe convert'"
    }
  }
}
