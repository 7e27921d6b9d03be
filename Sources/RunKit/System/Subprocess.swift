public import Foundation

/// Runs another program without a shell, reads what it writes and waits for its end.
///
/// Both outputs are read in one loop, so neither pipe can fill up while the other is waited for. Whatever happens (a
/// limit, an error of the receiver, the program killed by someone else), the program is ended and waited for before
/// `run` returns: none is left behind, not even as a zombie. The program gets a process group of its own, so that an
/// interrupt typed at the terminal reaches only this process, which stops between samples.
public enum Subprocess {
  /// What the program may use.
  public struct Limits: Sendable {
    /// Seconds until it is killed.
    public var seconds: Double
    /// The most bytes it may write to its standard output.
    public var outputBytes: Int
    /// The most bytes of its standard error that are kept.
    public var messageBytes: Int

    /// - Parameter messageBytes: 8 KiB unless given.
    public init(seconds: Double, outputBytes: Int, messageBytes: Int = 8 << 10) {
      (self.seconds, self.outputBytes, self.messageBytes) = (seconds, outputBytes, messageBytes)
    }
  }

  /// How the program ended.
  public enum Ending: Sendable, Equatable {
    /// By itself, with this status.
    case exited(Int32)
    /// By a signal that came from elsewhere.
    case killed(signal: Int32)
    /// Killed here because its time was over.
    case timedOut
    /// Killed here because it wrote more than allowed.
    case wroteTooMuch
    /// Ended here because the receiver had enough.
    case stopped
  }

  /// What is known after the end.
  public struct Outcome: Sendable {
    /// How the program ended.
    public let ending: Ending
    /// The beginning of what it wrote to standard error; bytes that are no UTF-8 are replaced.
    public let messages: String
  }

  /// Runs a program.
  ///
  /// - Parameters:
  ///   - program: The path of the program.
  ///   - input: A regular file that becomes its standard input; nothing unless given.
  ///   - receive: Gets the bytes of standard output as they come; false means that no more are wanted.
  /// - Throws: `FileError` if the input cannot be opened or the program cannot be started, and what `receive` throws.
  public static func run(
    _ program: String, _ arguments: [String], input: URL? = nil, limits: Limits,
    receive: ([UInt8]) throws -> Bool
  ) throws -> Outcome {
    // Opened here, so that a missing file, a folder or a pipe is an error of ours and not a riddle of the program's.
    if let input { _ = try OpenFile(input.path, for: .reading) }
    var output = try Pipe(program)
    var messages = try Pipe(program)
    // The program reads no settings of the user's: messages in English, no colours.
    let environment = ["PATH=" + (ProcessInfo.processInfo.environment["PATH"] ?? ""), "LC_ALL=C"]
    let child = try spawn(
      program, arguments, environment: environment,
      input: input.map { Stream.file($0.path) } ?? Stream.nothing,
      output: .descriptor(output.writer), messages: .descriptor(messages.writer))
    output.closeWriter()
    messages.closeWriter()
    var reader = Reader(output: output.reader, messages: messages.reader, limits: limits)
    do {
      let reason = try reader.read(receive)
      if reason != nil { kill(child, SIGKILL) }
      let ending = wait(for: child)
      return Outcome(ending: reason ?? ending, messages: String(decoding: reader.text, as: UTF8.self))
    } catch {
      kill(child, SIGKILL)
      _ = wait(for: child)
      throw error
    }
  }

  /// What a stream of a program is connected with.
  enum Stream {
    case descriptor(Int32)
    /// A file; one that is written is made, or emptied.
    case file(String)

    static let nothing = Stream.file("/dev/null")
  }

  /// Starts a program in a process group of its own.
  ///
  /// - Parameter environment: Its variables, each with its value behind "=".
  static func spawn(
    _ program: String, _ arguments: [String], environment: [String], input: Stream, output: Stream,
    messages: Stream
  ) throws(FileError) -> pid_t {
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe _ = posix_spawn_file_actions_destroy(&actions) }
    for (number, stream) in [(STDIN_FILENO, input), (STDOUT_FILENO, output), (STDERR_FILENO, messages)] {
      let flags = number == STDIN_FILENO ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC
      switch stream {
      case .descriptor(let end): unsafe posix_spawn_file_actions_adddup2(&actions, end, number)
      case .file(let path): unsafe posix_spawn_file_actions_addopen(&actions, number, path, flags, 0o666)
      }
    }
    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe _ = posix_spawnattr_destroy(&attributes) }
    // Signals that are ignored or blocked here must not be so there.
    var signals = sigset_t()
    unsafe sigemptyset(&signals)
    unsafe posix_spawnattr_setsigmask(&attributes, &signals)
    for number in [SIGPIPE, SIGINT, SIGTERM, SIGXFSZ] { unsafe _ = sigaddset(&signals, number) }
    unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
    unsafe posix_spawnattr_setpgroup(&attributes, 0)
    let flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK
    unsafe posix_spawnattr_setflags(&attributes, Int16(flags))
    var words = unsafe ([program] + arguments).map { unsafe strdup($0) } + [nil]
    var variables = unsafe environment.map { unsafe strdup($0) } + [nil]
    defer { unsafe (words + variables).forEach { unsafe free($0) } }
    var child: pid_t = 0
    let number = unsafe posix_spawn(&child, program, &actions, &attributes, &words, &variables)
    guard number == 0 else { throw FileError(opening: program, for: .reading, errorNumber: number) }
    return child
  }

  /// Waits until the program is gone.
  static func wait(for child: pid_t) -> Ending {
    var status: Int32 = 0
    while unsafe waitpid(child, &status, 0) < 0 {
      // Nothing to wait for: somebody else has taken the status.
      guard errno == EINTR else { return .exited(-1) }
    }
    return ending(of: status)
  }

  /// What the status of a program that is gone says.
  static func ending(of status: Int32) -> Ending {
    let signal = status & 0x7F
    return signal == 0 ? .exited((status >> 8) & 0xFF) : .killed(signal: signal)
  }
}

/// Two ends of a connection, closed when it goes away.
///
/// A pair of sockets, as a pipe cannot be made without being inherited, for a moment, by any other program started
/// meanwhile: then the end of the output would not be seen before that program ends.
private struct Pipe: ~Copyable {
  let reader: Int32
  private(set) var writer: Int32

  init(_ program: String) throws(FileError) {
    var ends: [Int32] = [-1, -1]
    let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    guard unsafe socketpair(AF_UNIX, type, 0, &ends) == 0 else {
      throw FileError(opening: program, for: .reading, errorNumber: errno)
    }
    (reader, writer) = (ends[0], ends[1])
  }

  mutating func closeWriter() {
    if writer >= 0 { close(writer) }
    writer = -1
  }

  deinit {
    close(reader)
    if writer >= 0 { close(writer) }
  }
}

/// Reads two pipes until both are closed, a limit is passed or nobody wants more.
private struct Reader {
  let output: Int32
  let messages: Int32
  let limits: Subprocess.Limits
  /// The beginning of the messages.
  var text: [UInt8] = []
  private var outputCount = 0

  init(output: Int32, messages: Int32, limits: Subprocess.Limits) {
    (self.output, self.messages, self.limits) = (output, messages, limits)
  }

  /// - Returns: Why the program must be ended; nil if it closed its outputs itself.
  mutating func read(_ receive: ([UInt8]) throws -> Bool) throws -> Subprocess.Ending? {
    let clock = ContinuousClock()
    let end = clock.now + .seconds(limits.seconds)
    var descriptors = [output, messages]
    while !descriptors.isEmpty {
      let left = (end - clock.now) / .milliseconds(1)
      guard left > 0 else { return .timedOut }
      var polls = descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
      let ready = unsafe poll(&polls, nfds_t(polls.count), Int32(min(left + 1, 1e6)))
      // An interrupt is no reason to stop: what it asks for is done between samples.
      if ready < 0, errno != EINTR { return .timedOut }
      guard ready > 0 else { continue }
      for poll in polls where poll.revents != 0 {
        let bytes = Self.bytes(of: poll.fd)
        if bytes.isEmpty {
          descriptors.removeAll { $0 == poll.fd }
        } else if poll.fd == messages {
          text += bytes.prefix(limits.messageBytes - text.count)
        } else {
          outputCount += bytes.count
          guard outputCount <= limits.outputBytes else { return .wroteTooMuch }
          guard try receive(bytes) else { return .stopped }
        }
      }
    }
    return nil
  }

  /// What a pipe holds, up to 64 KiB; empty at its end.
  private static func bytes(of descriptor: Int32) -> [UInt8] {
    let limit = 1 << 16
    while true {
      var count = 0
      let bytes = unsafe [UInt8](unsafeUninitializedCapacity: limit) { buffer, initialized in
        count = unsafe Foundation.read(descriptor, buffer.baseAddress, limit)
        initialized = max(count, 0)
      }
      if count >= 0 || errno != EINTR { return bytes }
    }
  }
}
