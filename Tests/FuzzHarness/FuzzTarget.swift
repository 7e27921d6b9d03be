import Foundation
import RunKit
import TensorCore

/// A file of a case, as it is laid down before the reader runs.
struct FuzzFile: Sendable {
  /// What stands at the file's path.
  enum Contents: Sendable {
    case bytes([UInt8])
    /// These bytes, then zeros that occupy no space, `count` bytes in all.
    case sparse([UInt8], count: Int)
    case folder
    case link(to: String)
    case nothing
  }

  /// The path below the folder of the case.
  var name: String
  var contents: Contents
  var layout: FuzzLayout

  /// A file that is larger than its bytes by zeros.
  init(_ name: String, _ bytes: [UInt8], zerosUpTo count: Int) {
    self.init(name, bytes, .binary(headerCount: bytes.count))
    contents = .sparse(bytes, count: count)
  }

  init(_ name: String, _ bytes: [UInt8], _ layout: FuzzLayout) {
    self.name = name
    self.contents = .bytes(bytes)
    self.layout = layout
  }
}

/// One reader under test: valid inputs, how to change them, and how to read them.
struct FuzzTarget: Sendable {
  /// A made input, and what was done to it.
  struct Case {
    var files: [FuzzFile]
    /// Changes to headers, JSON, offsets and the files' places, and changes to bulk data.
    var structureChanges = 0
    var dataChanges = 0
  }

  /// Makes an input that is not a changed seed.
  typealias Maker = @Sendable (inout FuzzRandom) -> [FuzzFile]

  let name: String
  /// The error types of the reader: each of their codes must come up in a long run.
  let errors: [any DescribedError.Type]
  /// Valid inputs, each of one or more files.
  let seeds: [[FuzzFile]]
  /// Inputs made for codes that random changes reach seldom.
  let directed: [Maker]
  /// Inputs that take long, such as files of the largest size: each comes up once, then seldom.
  let large: [Maker]
  /// Reads the input in this folder and uses what it read; throws what the reader throws.
  let read: @Sendable (String) throws -> Void

  init(
    _ name: String, errors: [any DescribedError.Type], seeds: [[FuzzFile]],
    directed: [Maker] = [], large: [Maker] = [], read: @escaping @Sendable (String) throws -> Void
  ) {
    self.name = name
    self.errors = errors
    self.seeds = seeds
    self.directed = directed
    self.large = large
    self.read = read
  }

  /// A reader of single files.
  init(
    _ name: String, file: String, layout: FuzzLayout, errors: [any DescribedError.Type], seeds: [[UInt8]],
    directed: [[UInt8]] = [], large: [@Sendable () -> [UInt8]] = [],
    read: @escaping @Sendable (String) throws -> Void
  ) {
    self.init(
      name, errors: errors, seeds: seeds.map { [FuzzFile(file, $0, layout)] },
      directed: directed.map { bytes in { _ in [FuzzFile(file, bytes, layout)] } },
      large: large.map { make in { _ in [FuzzFile(file, make(), layout)] } },
      read: { try read("\($0)/\(file)") })
  }

  /// Makes a case: every directed input once, then one time in five, otherwise a seed with one to four changes.
  ///
  /// - Parameter turn: How many cases the target had before.
  func makeCase(turn: Int, _ random: inout FuzzRandom) -> Case {
    let once = directed + large
    if turn < once.count { return Case(files: once[turn](&random), structureChanges: 1) }
    if !large.isEmpty && random.below(300) == 0 {
      return Case(files: random.pick(large)(&random), structureChanges: 1)
    }
    if !directed.isEmpty && random.happens(20) {
      return Case(files: random.pick(directed)(&random), structureChanges: 1)
    }
    var made = Case(files: random.pick(seeds))
    // Often a single change: several mostly end in the first check.
    let changeCount = random.happens(60) ? 1 : 2 + random.below(3)
    for _ in 0..<changeCount { change(&made, &random) }
    return made
  }

  private func change(_ made: inout Case, _ random: inout FuzzRandom) {
    let index = random.below(made.files.count)
    // Shuffled shards and replaced files test what a reader takes for granted about its folder.
    if random.happens(4) {
      made.structureChanges += 1
      switch random.below(5) {
      case 0: made.files[index].contents = .nothing
      case 1: made.files[index].contents = .folder
      case 2: made.files[index].contents = .bytes([])
      case 3:
        made.files[index].contents = .link(to: random.pick([made.files[index].name, "/dev/null", "../.."]))
      default: made.files[index].contents = made.files[random.below(made.files.count)].contents
      }
      return
    }
    guard case .bytes(let bytes) = made.files[index].contents else { return }
    if random.happens(12) {
      made.dataChanges += 1
      made.files[index].contents = .bytes(FuzzLayout.changeData(of: bytes, &random))
    } else {
      made.structureChanges += 1
      let changed = made.files[index].layout.changeStructure(of: bytes, &random)
      made.files[index].contents = .bytes(changed)
    }
  }

  /// Makers of one input for each element.
  static func each<Element: Sendable>(
    _ elements: [Element], _ make: @escaping @Sendable (Element) -> [FuzzFile]
  ) -> [Maker] {
    elements.map { element in { _ in make(element) } }
  }

  /// Every code that the error types have.
  var codes: [String] {
    func codes<Described: DescribedError>(of type: Described.Type) -> [String] {
      Described.Code.allCases.map(\.rawValue)
    }
    return errors.flatMap { codes(of: $0) }.filter { Self.unreachableCodes[$0] == nil }
  }
}

extension FuzzTarget {
  /// The bytes of a file of the case, for readers that take bytes.
  static func contents(_ path: String) throws -> [UInt8] {
    let file = try MappedFile(path: path)
    return file.bytes(0..<file.count)
  }
}

extension [FuzzFile] {
  /// Puts the files into `folder`, which must be empty.
  func lay(in folder: String) throws {
    for file in self {
      let path = "\(folder)/\(file.name)"
      if file.name.contains("/") {
        let parent = URL(fileURLWithPath: path).deletingLastPathComponent().path
        try FileManager.default.createDirectory(atPath: parent, withIntermediateDirectories: true)
      }
      switch file.contents {
      case .nothing: break
      case .bytes(let bytes): try Data(bytes).write(to: URL(fileURLWithPath: path))
      case .folder: try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
      case .link(let target):
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: target)
      case .sparse(let bytes, let count):
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        try handle.truncate(atOffset: UInt64(count))
        try handle.close()
      }
    }
  }
}
