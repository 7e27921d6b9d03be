/// Stops the program when its own code breaks a promise, with the message also in release builds.
///
/// For programmer errors only: what a file or a user gives is answered by an error.
@inline(__always)
public func require(
  _ condition: Bool, _ message: @autoclosure () -> String, file: StaticString = #fileID, line: UInt = #line
) {
  // `precondition` drops its message in release builds.
  if !condition { fatalError(message(), file: file, line: line) }
}
