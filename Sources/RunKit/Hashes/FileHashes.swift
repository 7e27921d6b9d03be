import Dispatch
public import Foundation
import Synchronization

/// The SHA-256 of files, remembered between runs: those of a large checkpoint take a minute.
///
/// A hash is remembered for a place in the file system together with size, inode and the times of the last changes of
/// content and of inode to the nanosecond; a file that was touched in any way is read again. Where the cache cannot be read
/// or written everything is hashed.
public struct FileHashes {
  /// Files smaller than this are always read.
  private static let smallest = 16 << 20
  private static let cacheLimit = 4 << 20
  /// Entries kept, the newest.
  private static let entryLimit = 1000

  private let cache: URL?

  /// - Parameter cache: The file that remembers; nil for none.
  public init(cache: URL? = Self.defaultCache) { self.cache = cache }

  /// `mmprobe/sha256.json` in the user's cache folder: `$XDG_CACHE_HOME`, or `.cache` at home.
  public static var defaultCache: URL? {
    let environment = ProcessInfo.processInfo.environment
    let named = environment["XDG_CACHE_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
    guard let folder = named ?? environment["HOME"].map({ $0 + "/.cache" }) else { return nil }
    return URL(fileURLWithPath: folder).appendingPathComponent("mmprobe/sha256.json")
  }

  /// The hashes of files as hexadecimal digits, in their order; several files at a time.
  ///
  /// - Parameter willRead: Told the bytes of all files that must be read, if there are large ones among them.
  /// - Throws: `FileError` for the first file that cannot be read.
  public func sha256(of urls: [URL], willRead: (Int) -> Void = { _ in }) throws(FileError) -> [String] {
    let states = urls.map(Self.state)
    var known = read()
    let missing = urls.indices.filter { states[$0].map { known[$0.key] == nil } ?? true }
    let largeBytes = missing.compactMap { states[$0]?.byteCount }.filter { $0 >= Self.smallest }
    if !largeBytes.isEmpty { willRead(largeBytes.reduce(0, +)) }
    let results = Mutex([Int: Result<String, FileError>]())
    DispatchQueue.concurrentPerform(iterations: missing.count) { place in
      let index = missing[place]
      let result = Result { () throws(FileError) in try SHA256.hexadecimal(ofFile: urls[index]) }
      results.withLock { $0[index] = result }
    }
    var hashes: [String] = []
    for index in urls.indices {
      if let result = results.withLock({ $0[index] }) {
        let hash = try result.get()
        hashes.append(hash)
        // Only if the file did not change meanwhile.
        if let state = states[index], state.byteCount >= Self.smallest, Self.state(urls[index]) == state {
          known[state.key] = .string(hash)
        }
      } else {
        hashes.append(states[index].flatMap { known[$0.key]?.stringValue } ?? "")
      }
    }
    if !largeBytes.isEmpty { write(known) }
    return hashes
  }

  private struct State: Equatable {
    let key: String
    let byteCount: Int
  }

  private static func state(_ url: URL) -> State? {
    guard let path = FileSystem.resolvingLinks(in: url.path), let status = FileSystem.status(of: path)
    else { return nil }
    return State(key: "\(path) \(status.identity)", byteCount: status.size)
  }

  /// What is remembered; nothing where the file is missing or not as it should be.
  private func read() -> JSONObject {
    guard let cache, let bytes = try? FileReader.bytes(of: cache, limit: Self.cacheLimit),
      let entries = (try? JSONValue(parsing: bytes))?.objectValue
    else { return JSONObject() }
    return JSONObject(
      entries.members.filter { _, value in
        value.stringValue.map { $0.utf8.count == 64 && $0.allSatisfy(\.isHexDigit) } ?? false
      })
  }

  private func write(_ entries: JSONObject) {
    guard let cache else { return }
    let newest = JSONObject(Array(entries.members.suffix(Self.entryLimit)))
    // A cache that cannot be written costs time the next time, nothing else.
    try? FileSystem.createFolder(cache.deletingLastPathComponent().path)
    try? AtomicFile.write(JSONValue.object(newest).text() + "\n", to: cache)
  }
}
