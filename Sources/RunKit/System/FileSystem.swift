import Foundation

/// What the system says about a file.
struct FileStatus: Sendable {
  enum Kind: Sendable { case regular, folder, other }
  let kind: Kind
  /// Bytes in the file.
  let size: Int
  /// Changes with every change of the file: device, inode, size, the times of the last changes of content and of inode.
  let identity: String

  init(_ status: stat) {
    switch status.st_mode & mode_t(S_IFMT) {
    case mode_t(S_IFREG): kind = .regular
    case mode_t(S_IFDIR): kind = .folder
    default: kind = .other
    }
    size = Int(status.st_size)
    let times = [status.st_mtim, status.st_ctim].map { "\($0.tv_sec).\($0.tv_nsec)" }
    identity = "\(status.st_dev) \(status.st_ino) \(status.st_size) \(times[0]) \(times[1])"
  }
}

/// Calls on names in folders, as opposed to contents of files.
public enum FileSystem {
  /// The status of what `path` names, or nil if there is nothing that can be seen.
  ///
  /// - Parameter followsLinks: Whether a symbolic link stands for what it points at.
  static func status(of path: String, followsLinks: Bool = true) -> FileStatus? {
    var status = stat()
    let result = unsafe followsLinks ? stat(path, &status) : lstat(path, &status)
    return result == 0 ? FileStatus(status) : nil
  }

  /// The path with every symbolic link followed, or nil if there is nothing there.
  static func resolvingLinks(in path: String) -> String? {
    guard let resolved = unsafe realpath(path, nil) else { return nil }
    defer { unsafe free(resolved) }
    return unsafe String(cString: resolved)
  }

  /// Gives `source` the name `destination`, replacing what was there in one step.
  static func rename(_ source: String, to destination: String) throws(FileError) {
    try FaultPoint.reach(.rename, path: destination)
    guard unsafe Foundation.rename(source, destination) == 0 else {
      throw FileError(failing: .rename, path: destination, errorNumber: errno)
    }
  }

  /// Removes a name; nothing happens if it is not there.
  ///
  /// - Throws: `FileError`.
  public static func remove(_ path: String) throws(FileError) {
    guard unsafe unlink(path) == 0 || errno == ENOENT else {
      throw FileError(failing: .remove, path: path, errorNumber: errno)
    }
  }

  /// Makes the folder and those above it; nothing happens if it is there.
  public static func createFolder(_ path: String) throws(FileError) {
    if unsafe mkdir(path, 0o777) == 0 { return }
    let number = errno
    let parent = (path as NSString).deletingLastPathComponent
    if number == ENOENT, !parent.isEmpty, parent != path {
      try createFolder(parent)
      if unsafe mkdir(path, 0o777) == 0 { return }
    }
    if status(of: path)?.kind == .folder { return }
    if number == EEXIST { throw .cannotCreate(path: path, reason: "a file of that name is in the way") }
    throw FileError(opening: path, for: .writing, errorNumber: number)
  }

  /// Waits until the names in a folder are on the disk.
  static func syncFolder(_ path: String) throws(FileError) {
    try FaultPoint.reach(.syncFolder, path: path)
    let descriptor = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FileError(failing: .syncFolder, path: path, errorNumber: errno) }
    defer { close(descriptor) }
    // Some file systems (network, overlay) have no such call for folders and say so: nothing more can be done.
    guard fsync(descriptor) == 0 || errno == EINVAL || errno == ENOTSUP else {
      throw FileError(failing: .syncFolder, path: path, errorNumber: errno)
    }
  }

  /// The names in a folder, sorted by their bytes, without "." and "..".
  ///
  /// - Throws: `FileError`.
  public static func names(in path: String) throws(FileError) -> [String] {
    guard let folder = unsafe opendir(path) else {
      throw FileError(opening: path, for: .reading, errorNumber: errno)
    }
    defer { unsafe closedir(folder) }
    var names: [String] = []
    while let entry = unsafe readdir(folder) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { buffer in
        unsafe String(decoding: buffer.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// The system's words for an error number.
  static func reason(_ errorNumber: Int32) -> String {
    unsafe String(cString: strerror(errorNumber))
  }
}
