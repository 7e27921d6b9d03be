import Analysis
import Foundation
import RunKit
import TensorCore
import TokenModel

/// Carries out a run of a measuring command: plans it, measures into a folder or not, shows results.
struct MeasuredRun {
  let probe: AttentionProbe
  let run: AttentionRun
  let context: AttentionContext
  let source: SampleSource
  let options: RunOptions
  let session: Session
  /// The table that `--format csv` prints.
  let mainTable: String

  /// What the run was asked to do.
  ///
  /// - Parameter more: Options of the command that change numbers and stand nowhere else.
  static func context(
    _ checkpoint: Checkpoint, _ adapter: AdapterOptions, _ source: SampleSource,
    _ definition: AttentionDefinition, _ options: RunOptions, _ session: Session, more: [(String, JSONValue)]
  ) throws -> AttentionContext {
    AttentionContext(
      tool: .init(version: Version.number, commit: BuildFacts.commit),
      // A plan names no files.
      model: try model(checkpoint, adapter, hashesFiles: !options.isDryRun, session.console),
      data: source.description, definition: definition, shard: options.shard, seed: session.globals.seed,
      options: JSONObject(more))
  }

  /// Measures and shows.
  ///
  /// - Throws: `PromptError.noTokenizer`, `MeasurementError` if every sample was skipped; errors of files.
  func carryOut(_ checkpoint: Checkpoint) throws -> ExitStatus {
    // Without this every sample would be skipped for the same reason.
    _ = try checkpoint.requiredTokenizer()
    MemoryLimit.bytes = options.maxMemory
    if options.isDryRun || options.maxMemory != nil {
      let plan = try AttentionPlan(
        probe, checkpoint, definition: context.definition, indices: run.indices, sample: source.sample)
      try MemoryLimit.check(
        needed: plan.peakBytes,
        for: "this run, whose longest prompt has \(Support.grouped(plan.longestPrompt)) tokens,")
      if !options.isDryRun { return try measure(checkpoint) }
      try show(
        plan, context.definition, layerCount: checkpoint.model.decoder.configuration.layerCount,
        session.console)
      return .success
    }
    return try measure(checkpoint)
  }

  private func measure(_ checkpoint: Checkpoint) throws -> ExitStatus {
    Interrupts.install()
    if let output = options.output { return try measure(into: output, checkpoint) }
    var progress =
      source.data == nil ? nil : session.console.progress(total: run.indices.count, unit: "sample")
    let samples = try run.measure { done, skipped in progress?.update(done: done, skipped: skipped) }
    if source.data != nil { progress?.finish(done: samples.samples.count, skipped: samples.skipped.count) }
    if Interrupts.isRequested && samples.samples.count < run.indices.count {
      session.console.note("interrupted, nothing was saved; a run with -o RUN can be resumed")
      return .interrupted
    }
    try MeasurementError.check(samples)
    warnOfLength(samples, checkpoint)
    try show(AttentionSummary(context, samples), samples)
    return .success
  }

  /// Measures into a run folder.
  private func measure(into path: String, _ checkpoint: Checkpoint) throws -> ExitStatus {
    let console = session.console
    let folder = try Self.openFolder(path, options, context, session)
    let start = (wall: ProcessFacts.monotonicSeconds, processor: ProcessFacts.processorSeconds)
    var progress: ProgressReporter?
    var counts = (done: 0, skipped: 0)
    let outcome = try run.measure(into: folder) { done, skipped in
      if progress == nil {
        if folder.isResumed {
          console.note("resuming \(path): \(done) of \(run.indices.count) done, settings match")
        }
        progress = console.progress(total: run.indices.count, alreadyDone: done, unit: "sample")
      }
      counts = (done, skipped)
      progress?.update(done: done, skipped: skipped)
    }
    progress?.finish(done: counts.done, skipped: counts.skipped)
    let notes: JSONObject = JSONObject([
      (
        "cost",
        [
          "wall_s": .number(ProcessFacts.monotonicSeconds - start.wall),
          "cpu_s": .number(ProcessFacts.processorSeconds - start.processor),
          "peak_rss_bytes": .integer(ProcessMemory.current.peakResident),
        ]
      )
    ])
    if case .stopped(let done, let total) = outcome {
      try folder.finish(.stopped, notes: notes)
      console.note(
        "stopped after \(done) of \(total) samples; go on with:\n  \(Support.resumeLine(session.commandLine))"
      )
      return .stopped
    }
    let samples = try AttentionRunFiles.read(folder.url).samples
    let summary = AttentionSummary(context, samples)
    try AttentionRunFiles.write(summary, samples, to: folder)
    try folder.finish(.complete, notes: notes)
    try MeasurementError.check(samples)
    warnOfLength(samples, checkpoint)
    try show(summary, samples)
    console.note("figures, tables, report: \(path)/\(AttentionRunFiles.reportName)")
    return .success
  }

  private func warnOfLength(_ samples: AttentionSamples, _ checkpoint: Checkpoint) {
    let longest = samples.records.map { $0.tokens.reduce(0, +) }.max() ?? 0
    Support.warnOfLength(longest, checkpoint, session.console)
  }

  /// Opens or makes the run folder.
  static func openFolder(
    _ path: String, _ options: RunOptions, _ context: AttentionContext, _ session: Session
  ) throws -> RunFolder {
    try RunFolder(
      at: URL(fileURLWithPath: path, isDirectory: true), mode: options.mode,
      configuration: context.json.objectValue ?? JSONObject(),
      facts: .init(
        version: Version.number, arguments: ["mmprobe"] + session.commandLine, threads: Workers.threadCount))
  }

  /// The model as contexts name it.
  static func model(
    _ checkpoint: Checkpoint, _ adapter: AdapterOptions, hashesFiles: Bool = true, _ console: Console
  ) throws -> AttentionContext.Model {
    let files: [AttentionContext.HashedFile] =
      hashesFiles
      ? try checkpoint.fileHashes(willRead: Support.noteOfHashing(console)).map {
        .init(name: $0.name, sha256: $0.sha256)
      } : []
    let sizes = checkpoint.model.decoder.configuration
    let types = Inspection(checkpoint).types
    return AttentionContext.Model(
      name: Support.name(checkpoint.folder.path), architecture: checkpoint.family.modelType,
      layerCount: sizes.layerCount, headCount: sizes.headCount, keyValueHeadCount: sizes.keyValueHeadCount,
      dtype: types.first?.type.rawValue.lowercased() ?? "none", files: files,
      adapters: try adapter.description(files))
  }

  private func show(_ summary: AttentionSummary, _ samples: AttentionSamples) throws {
    try Self.show(summary, samples, options, mainTable: mainTable, session.console)
  }

  /// Prints results in the form that was asked for.
  static func show(
    _ summary: AttentionSummary, _ samples: AttentionSamples, _ options: RunOptions, mainTable: String,
    _ console: Console
  ) throws {
    switch options.format ?? (console.wantsJSON ? .json : .table) {
    case .table:
      try console.write(summary.terminalText)
      if let tokens = summary.tokenText(samples) { try console.write(tokens) }
    case .json: try console.document(summary.json)
    case .jsonl:
      let definition = summary.context.definition
      for sample in samples.samples { try console.line(sample.json(definition).text()) }
    case .csv:
      try console.write(AttentionTables(summary, samples).files.first { $0.name == mainTable }?.text ?? "")
    }
    // Tables and JSON have them inside.
    if options.format == .jsonl || options.format == .csv {
      for warning in summary.warnings where warning.level == .warning { console.warn(warning.message) }
    }
  }

  private func show(
    _ plan: AttentionPlan, _ definition: AttentionDefinition, layerCount: Int, _ console: Console
  ) throws {
    if console.wantsJSON {
      return try console.document([
        "samples": .integer(plan.sampleCount), "unreadable": .integer(plan.unreadableCount),
        "longest_prompt": .integer(plan.longestPrompt), "positions": .integer(plan.positionCount),
        "queries": .string(definition.queries.rawValue), "trials": .integer(plan.trialCount),
        "trial_layers": .integer(plan.trialLayerCount),
        "peak_rss_bytes": .integer(plan.peakBytes), "seconds": .number(plan.seconds),
      ])
    }
    let available = MachineFacts.availableMemory.map { ", \(ByteCount.text($0)) available" } ?? ""
    try console.write(
      """
      samples   \(plan.sampleCount)\(plan.unreadableCount > 0 ? ", \(plan.unreadableCount) of them cannot be read" : "")
      tokens    \(Support.grouped(plan.positionCount)), longest prompt \(plan.longestPrompt)
      queries   \(definition.queries.rawValue): \(definition.queries.explanation)
      measured  \(definition.layers.count) layers x \(definition.heads.count) heads, \(definition.groups.count) groups
      memory    about \(ByteCount.text(plan.peakBytes))\(available)
      time      about \(Decimals.text(plan.seconds, places: 1)) s with \(Support.counted(Workers.threadCount, "thread"))

      """)
    let layers =
      plan.trialLayerCount < layerCount
      ? " through \(plan.trialLayerCount) of \(layerCount) layers" : ""
    console.note(
      "estimated from \(Support.counted(plan.trialCount, "measured sample"))\(layers); nothing was written")
  }
}
