import RunKit

extension FuzzTarget {
  /// Every reader under test. Add yours here, with a file of seeds beside this one.
  static let all: [FuzzTarget] = [
    .json,
    .jsonLines,
    .text,
    .storedTensor,
    .safetensors,
    .shards,
    .npy,
    .npz,
    .tokenizer,
    .bytePairTokenizer,
    .chatTemplate,
    .checkpoint,
    .wav,
    .pnm,
    .dataSet,
    .trace,
    .reference,
    .attentionImport,
    .run,
    .merge,
    .runFolder,
    .training,
  ]

  /// Codes of the errors under test that no input file can bring up, and why.
  static let unreachableCodes: [String: String] = [
    "io_cannot_create": "needs a folder that may not be written; FileTests",
    "io_read_only": "needs a read-only disk; FaultTests",
    "io_no_space": "needs a full disk; FaultTests",
    "io_failed": "needs a failing disk; FaultTests",
    "probe_no_piece": "speaks of a well-formed record that has no answer; ProbeErrorTests",
    "probe_no_padding": "speaks of a well-formed model without an id of padding; ProbeErrorTests",
    "probe_no_donor": "speaks of a well-formed data set of one sample; ModalityShapleyTests",
    "probe_nothing_left": "speaks of a well-formed model without an id that begins; ProbeErrorTests",
    "probe_not_finite": "speaks of numbers that a well-formed model computes; ProbeErrorTests",
    "media_unsupported_shape": "speaks of a well-formed image; ImageProcessorTests",
    "media_empty": "needs a file of no bytes, which is also cut short in other ways; BadInputTests",
    "media_not_decodable": "is found by a program outside; MediaDecodingTests",
    "media_no_stream": "is found by a program outside; MediaDecodingTests",
    "tensor_not_quantisable": "is thrown when a model is converted; QuantisedMatrixTests",
    "prompt_broken_placeholders": "needs a family that writes placeholders out; the families' oracle tests",
    "prompt_unusable_medium": "needs a family whose media have grids or tiles; the families' oracle tests",
    "trace_wrong_value": "needs a family whose media have grids; the families' oracle tests",
    "run_shortened": "needs a saved position beyond the end of its file; RunFolderTests, StepDriverTests",
  ]

  /// Error types that speak of no input file, and who tests them.
  static let exemptErrors: [String: String] = [
    "AdapterError": "speaks of an adapter and a model that do not fit each other; AdapterTests",
    "FinetuneError": "speaks of well-formed data that cannot be trained on; FinetuneCommandTests",
    "TensorWriteError":
      "what is to be written is the program's own; SafetensorsFileTests, NPYFileTests, NPZFileTests",
    "DecoderError": "speaks of a program outside; MediaDecodingTests",
    "UsageError": "speaks of the command line; CommandTests",
    "EvaluationError": "speaks of a well-formed record that has no answer",
    "TrainingDataError": "speaks of well-formed data that cannot be trained on; TrainingDataErrorTests",
    "TrainingStateError": "speaks of the state a run saved itself; StepDriverTests",
    "CheckpointError": "speaks of folders, and of well-formed weights that are not numbers; BadInputTests",
    "ComparisonError": "speaks of two runs that do not belong together; ComparisonTests",
    "RollingQueryError": "speaks of buffers that a run saved itself; RollingQueryTests",
    "ConversionError": "speaks of a folder that is converted already, or into itself; ConvertCommandTests",
    "DriftError": "speaks of two models that do not belong together; ConvertCommandTests",
    "MemoryLimitError": "speaks of a limit on the command line; MemoryLimitTests",
    "BenchError": "speaks of methods, seeds and folders named on the command line; BenchCommandTests",
    "SweepError":
      "speaks of a grid on the command line and of folders of runs; BenchTableTests, BenchSweepTests",
    "ClassicDataError": "speaks of well-formed data that a benchmark cannot use; ClassicDataTests",
    "PackedDataError": "speaks of folders of a benchmark, which the harness does not know; PackedDataTests",
    "PackingError": "speaks of data sets that cannot be packed; DataLayoutTests, PackedDataTests",
    "EncoderError": "speaks of encoders named in an experiment; EncoderChoiceTests",
    "SyntheticError": "speaks of amounts on the command line; SyntheticDataTests",
    "MeasurementError": "speaks of a run whose samples were all skipped; AttentionCommandTests",
  ]
}
