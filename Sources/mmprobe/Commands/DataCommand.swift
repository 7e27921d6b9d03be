import ClassicBench
import Foundation
import RunKit
import TensorCore

/// `mmprobe data`: data sets of the classic benchmark, from the files of their publishers to a packed folder.
struct DataCommand: Command {
  static let name = "data"
  static let summary = "pack, check and make data sets for the classic benchmark"
  static let discussion = """
    pack LAYOUT FOLDER -o PACKED decodes a data set once and writes it as mapped
    shards with a manifest: what bench reads. check LAYOUT FOLDER lists everything
    that is wrong with the files, all at once; check PACKED compares the hashes of
    the shards with the manifest. info PACKED shows what a packed folder holds.
    synthesize -o PACKED makes vectors that say chosen amounts of bits about the
    label: redundant, unique to a modality, and synergistic.

    Layouts (Documentation/Classic/data.md has their folders):
    cremad           CREMA-D: 6 emotions, sound and faces
    kinetics-sounds  KineticsSounds: 31 actions, sound and frames
    vggsound         VGGSound: 309 events, sound and frames
    balancedav       BalancedAV: 30 classes, sound and frames
    ucf101           UCF-101: 101 actions, frames and optical flow
    food101          UPMC Food-101: 101 dishes, titles and pictures
    mosei            CMU-MOSEI: sentiment, sequences of text, audio and vision

    Pickles and HDF5 are not read. A problem found ends with status 65.
    """
  static let action = Positional(name: "ACTION", count: .one, help: "pack, check, info or synthesize")
  static let subject = Positional(name: "LAYOUT", count: .optional, help: "a layout, or a packed folder")
  static let source = Positional(name: "FOLDER", count: .optional, help: "the files of the data set")
  static let output = Option<String?>.text("output", short: "o", "PACKED", "folder to make")
  static let label = Option<String?>.text(
    "name", "NAME", notes: "default: the layout", "what the data set is called in results")
  static let resume = Option<Bool>.flag("resume", "go on with an unfinished packing")
  static let overwrite = Option<Bool>.flag("overwrite", "replace the packed data set in the folder")
  static let frames = Option<Int?>.integer(
    "frames", in: 1...64, absence: "2 for cremad, else 3", "frames of a sample, from equal segments")
  static let side = Option<Int>.integer(
    "image-size", in: 8...4096, default: 256, unit: "pixels", "rows and columns of stored pictures")
  static let input = Option<Int>.integer(
    "input-size", in: 8...4096, default: 224, unit: "pixels", "rows and columns of pictures as inputs")
  static let fit = Option<DataRecipe.Fit>.choice(
    "fit", "HOW", default: .squash, "make pictures square by each side, or by cutting")
  static let sound = Option<DataRecipe.Sound?>.choice(
    "sound", "FEATURES", absence: "log-stft for cremad, else fbank", "features of sound")
  static let soundFrames = Option<Int>.integer(
    "sound-frames", in: 1...8192, default: 1024, "frames of fbank; the rest is cut or silent")
  static let seconds = Option<Double>.number(
    "seconds", "S", in: .above(0, atMost: 120), default: 3, unit: "s", "length of log-stft")
  static let classes = Option<Int>.integer(
    "classes", in: 2...7, default: 2, "classes of mosei: 2, 3 or 7")
  static let validation = Option<Double>.number(
    "validation", "SHARE", in: .between(0, 1), default: 0.1,
    "of every class, where there is no list of validation samples")
  static let skip = Option<Bool>.flag("skip-incomplete", "leave out samples that lack a modality")
  static let decode = Option<Bool>.flag("decode", "check: decode every picture and recording, too")
  static let redundant = Option<Double>.number(
    "redundant", "BITS", in: .closed(0, 6), default: 1, "bits that every modality sees")
  static let unique = Option<[String]>.list(
    "unique", "BITS", absence: "1,1", "bits that one modality sees alone, for each")
  static let synergy = Option<Double>.number(
    "synergy", "BITS", in: .closed(0, 6), default: 0, "bits that only all modalities together say")
  static let modalities = Option<[String]>.list(
    "modalities", "NAMES", absence: "audio,visual", "names, with commas between")
  static let samples = Option<Int>.integer(
    "samples", in: 20...200_000, default: 2000, "of all splits: 70 % train, 10 % validation, 20 % test")
  static let noise = Option<Double>.number(
    "noise", in: .closed(0, 1000), default: 0.1, "deviation of what is added to each number")
  static let dimensions = Option<Int>.integer("dimensions", in: 1...4096, default: 32, "numbers of a vector")
  static let positionals = [action, subject, source]
  static let options =
    outputOptions + listingOptions + [decode.declaration] + syntheticOptions
  private static let outputOptions = [
    output.declaration, label.declaration, resume.declaration, overwrite.declaration,
  ]
  private static let listingOptions = [
    frames.declaration, side.declaration, input.declaration, fit.declaration, sound.declaration,
    soundFrames.declaration, seconds.declaration, classes.declaration, validation.declaration,
    skip.declaration,
  ]
  private static let syntheticOptions = [
    redundant.declaration, unique.declaration, synergy.declaration, modalities.declaration,
    samples.declaration, noise.declaration, dimensions.declaration,
  ]
  static let examples = [
    Example(purpose: "What is wrong with these files?", line: "data check cremad CREMA-D"),
    Example(purpose: "Pack them", line: "data pack cremad CREMA-D -o packed/cremad"),
    Example(purpose: "Is the copy whole?", line: "data check packed/cremad"),
    Example(
      purpose: "One modality knows two bits, the other none",
      line: "data synthesize -o packed/uneven --redundant 1 --unique 2,0"),
  ]

  private enum Action: String, CaseIterable { case pack, check, info, synthesize }
  private let word: String
  private let subject: String?
  private let source: String?
  private let output: String?
  private let label: String?
  private let mode: RunFolder.Mode
  private let excludesMode: Bool
  private let decodes: Bool
  private var recipe = DataRecipe()
  private var synthetic = SyntheticData.Options()
  private let uniqueWords: [String]
  /// Options that were given, by name.
  private let given: Set<String>

  init(_ arguments: Arguments) throws(UsageError) {
    word = try arguments[Self.action]
    subject = arguments.optional(Self.subject)
    source = arguments.optional(Self.source)
    output = try arguments[Self.output]
    label = try arguments[Self.label]
    let (resumes, overwrites) = (try arguments[Self.resume], try arguments[Self.overwrite])
    mode = resumes ? .resume : overwrites ? .overwrite : .fresh
    excludesMode = resumes && overwrites
    decodes = try arguments[Self.decode]
    recipe.frames = try arguments[Self.frames]
    recipe.side = try arguments[Self.side]
    recipe.inputSide = try arguments[Self.input]
    recipe.fit = try arguments[Self.fit]
    recipe.sound = try arguments[Self.sound]
    recipe.soundFrames = try arguments[Self.soundFrames]
    recipe.seconds = try arguments[Self.seconds]
    recipe.sentimentClasses = try arguments[Self.classes]
    recipe.validationShare = try arguments[Self.validation]
    recipe.skipsIncomplete = try arguments[Self.skip]
    synthetic.redundant = try arguments[Self.redundant]
    synthetic.synergy = try arguments[Self.synergy]
    uniqueWords = try arguments[Self.unique]
    let names = try arguments[Self.modalities]
    if !names.isEmpty { synthetic.names = names }
    synthetic.samples = try arguments[Self.samples]
    synthetic.noise = try arguments[Self.noise]
    synthetic.dimensions = try arguments[Self.dimensions]
    given = Set(Self.options.map(\.name).filter { arguments.isGiven(name: $0) })
  }

  func validate() throws(UsageError) {
    guard let action = Action(rawValue: word) else {
      throw .badValue(
        option: "ACTION", found: word, expected: "pack, check, info or synthesize", command: Self.name)
    }
    let allowed: [OptionDeclaration] =
      switch action {
      case .pack: Self.outputOptions + Self.listingOptions
      case .check: Self.listingOptions + [Self.decode.declaration]
      case .info: []
      case .synthesize: Self.outputOptions + Self.syntheticOptions
      }
    if let odd = given.subtracting(allowed.map(\.name)).min() {
      throw .conflict(reason: "data \(word) takes no --\(odd)", remedy: "leave the option out")
    }
    if excludesMode {
      throw .conflict(
        reason: "--resume and --overwrite exclude each other", remedy: "leave one of them out")
    }
    if [.pack, .synthesize].contains(action), output == nil {
      throw .missingOption(option: "-o PACKED", command: Self.name)
    }
    if recipe.seconds < 0.1 {
      throw .badValue(
        option: "--seconds", found: "\(recipe.seconds)", expected: "0.1 or more", command: Self.name)
    }
    if recipe.inputSide > recipe.side {
      throw .conflict(
        reason: "--input-size \(recipe.inputSide) is above --image-size \(recipe.side)",
        remedy: "store pictures at least as large as the inputs")
    }
    if ![2, 3, 7].contains(recipe.sentimentClasses) {
      throw .badValue(
        option: "--classes", found: "\(recipe.sentimentClasses)", expected: "2, 3 or 7", command: Self.name)
    }
    try validateSubjects(action)
  }

  private func validateSubjects(_ action: Action) throws(UsageError) {
    switch action {
    case .synthesize:
      if let subject { throw .extraArgument(found: subject, command: Self.name) }
      _ = try uniqueBits()
    case .info:
      if subject == nil { throw .missingArgument(name: "PACKED", command: Self.name) }
      if let source { throw .extraArgument(found: source, command: Self.name) }
    case .pack:
      try validate(for: layout())
      if source == nil { throw .missingArgument(name: Self.source.name, command: Self.name) }
    case .check:
      guard subject != nil else { throw .missingArgument(name: Self.subject.name, command: Self.name) }
      if source != nil {
        try validate(for: layout())
      } else if !given.isEmpty {
        throw .conflict(
          reason: "the check of a packed folder takes no options",
          remedy: "name a layout and a folder, or leave them out")
      }
    }
  }

  private func layout() throws(UsageError) -> DataLayout {
    guard let subject else { throw .missingArgument(name: Self.subject.name, command: Self.name) }
    guard let layout = DataLayout(rawValue: subject) else {
      let words = DataLayout.allCases.map(\.rawValue)
      throw .badValue(
        option: "LAYOUT", found: subject,
        expected: "one of \(words.joined(separator: ", "))."
          + NameSuggestion.question(for: subject, in: words),
        command: Self.name)
    }
    return layout
  }

  /// Refuses options about media that a layout does not have.
  private func validate(for layout: DataLayout) throws(UsageError) {
    var unused: [OptionDeclaration] = []
    if !layout.hasPictures {
      unused += [Self.side.declaration, Self.input.declaration, Self.fit.declaration]
    }
    if !layout.hasSeveralFrames { unused.append(Self.frames.declaration) }
    if !layout.hasSound {
      unused += [Self.sound.declaration, Self.soundFrames.declaration, Self.seconds.declaration]
    }
    if layout != .mosei { unused.append(Self.classes.declaration) }
    if let odd = unused.map(\.name).first(where: given.contains) {
      throw .conflict(reason: "\(layout.rawValue) takes no --\(odd)", remedy: "leave the option out")
    }
    let sound = layout.recipe(recipe).sound
    let other = sound == .logSpectrogram ? Self.soundFrames.declaration : Self.seconds.declaration
    if layout.hasSound, given.contains(other.name) {
      throw .conflict(
        reason: "\(sound?.rawValue ?? "") takes no --\(other.name)",
        remedy: "leave the option out, or choose other features with --sound")
    }
  }

  private func uniqueBits() throws(UsageError) -> [Double] {
    if uniqueWords.isEmpty { return synthetic.names.map { _ in 1 } }
    var bits: [Double] = []
    for word in uniqueWords {
      guard let value = Double(word), 0...6 ~= value else {
        throw .badValue(option: "--unique", found: word, expected: "numbers from 0 to 6", command: Self.name)
      }
      bits.append(value)
    }
    return bits
  }

  func run(_ session: Session) throws -> ExitStatus {
    switch Action(rawValue: word) {
    case .pack: return try pack(try listing(session, readsFeatures: false), label ?? subject ?? "", session)
    case .check: return try check(session)
    case .info: return try info(session.console, try PackedFolder(folder(subject)))
    case .synthesize, nil:
      var options = synthetic
      options.unique = try uniqueBits()
      options.seed = session.globals.seed
      return try pack(try SyntheticData(options).listing(), label ?? "synthetic", session)
    }
  }

  private func folder(_ path: String?) -> URL { URL(fileURLWithPath: path ?? "", isDirectory: true) }

  private func listing(_ session: Session, readsFeatures: Bool) throws -> DataListing {
    var recipe = recipe
    recipe.seed = session.globals.seed
    let folder = folder(source)
    // A path that ends in a slash exists where it is a folder.
    guard FileManager.default.fileExists(atPath: folder.path + "/") else {
      throw FileError.missing(path: folder.path)
    }
    return try layout().listing(of: folder, recipe, readsFeatures: readsFeatures)
  }

  private func pack(_ listing: DataListing, _ name: String, _ session: Session) throws -> ExitStatus {
    let console = session.console
    let packer = try DataPacker(listing, name: name)
    Interrupts.install()
    var progress: ProgressReporter?
    let outcome = try packer.pack(to: folder(output), mode: mode, threads: Workers.threadCount) {
      done, total in
      if progress == nil { progress = console.progress(total: total, alreadyDone: 0, unit: "sample") }
      progress?.update(done: done, detail: "")
    }
    guard case .complete(let packed) = outcome else {
      console.note("stopped; go on with:\n  \(Support.resumeLine(session.commandLine))")
      return .stopped
    }
    progress?.finish(done: packed.manifest.splits.reduce(0) { $0 + $1.ids.count }, detail: "")
    if recipe.skipsIncomplete, listing.incompleteCount > 0 {
      console.warn("\(Support.counted(listing.incompleteCount, "sample")) left out that lack a modality")
    }
    return try info(console, packed)
  }

  private func check(_ session: Session) throws -> ExitStatus {
    let console = session.console
    var progress: ProgressReporter?
    func report(_ done: Int, _ total: Int, _ unit: String) {
      if progress == nil { progress = console.progress(total: total, alreadyDone: 0, unit: unit) }
      progress?.update(done: done, detail: "")
    }
    let problems: [DataProblem]
    var facts = JSONObject()
    if source == nil {
      let packed = try PackedFolder(folder(subject))
      problems = try packed.problems { report($0, $1, "shard") }
      facts["shards"] = .integer(packed.manifest.splits.reduce(0) { $0 + $1.shards.count })
    } else {
      let listing = try listing(session, readsFeatures: true)
      problems = listing.problems(decodes: decodes) { report($0, $1, "sample") }
      facts["samples"] = .array(listing.counts.map(JSONValue.integer))
      facts["incomplete_samples"] = .integer(listing.incompleteCount)
    }
    if console.wantsJSON {
      facts["problem_count"] = .integer(problems.count)
      facts["problems"] = .array(problems.map(\.json))
      try console.document(.object(facts))
    } else {
      for problem in problems { try console.line(problem.text) }
      try console.line(problems.isEmpty ? "no problem found" : Support.counted(problems.count, "problem"))
    }
    return problems.isEmpty ? .success : .data
  }

  private func info(_ console: Console, _ packed: PackedFolder) throws -> ExitStatus {
    let manifest = packed.manifest
    if console.wantsJSON {
      try console.document(packed.summary)
      return .success
    }
    try console.line(
      "\(manifest.name): \(Support.grouped(manifest.classes.count)) classes, \(ByteCount.text(packed.byteCount))"
    )
    var parts = TextTable([.text("modality"), .text("stored")])
    for modality in manifest.modalities { parts.append([modality.name, modality.summary]) }
    try console.write(parts.text)
    var splits = TextTable([
      .text("split"), .number("samples"), .number("shards"), .number("smallest class"),
      .number("largest class"),
    ])
    for split in manifest.splits {
      let counts = manifest.classes.indices.map { label in split.labels.count { $0 == label } }
      splits.append([
        split.name, Support.grouped(split.ids.count), Support.grouped(split.shards.count),
        Support.grouped(counts.min() ?? 0), Support.grouped(counts.max() ?? 0),
      ])
    }
    try console.write(splits.text)
    return .success
  }
}
