import Foundation
import RunKit
import TensorCore
import TokenModel

/// `mmprobe trace`: raw inputs in, named intermediates out.
struct TraceCommand: Command {
  static let name = "trace"
  static let summary = "run raw inputs and save logits, hidden states, attention, ..."
  static let discussion = """
    Inputs have the names transformers gives them: input_ids [batch, tokens], and if
    wanted attention_mask and position_ids of the same shape (position_ids of
    qwen2_vl and qwen2_5_vl also [3, batch, tokens]); media in the order of their
    placeholders, as a processor makes them, with one placeholder id for each medium
    or for each of its rows:
      llava, chameleon   pixel_values
      llava_next         pixel_values, image_sizes
      idefics3, smolvlm  pixel_values, pixel_attention_mask
      qwen2_vl           pixel_values, image_grid_thw, pixel_values_videos,
                         video_grid_thw, mm_token_type_ids
      qwen2_5_vl         the same and second_per_grid_ts
      qwen2_audio        input_features, feature_attention_mask
      avt_llama          image_u8, audio_u8, bytes [media, channels, ...]

    Names to capture: logits; hidden.0 (input of layer 0) to hidden.L (after the
    final norm); attention.0 to attention.(L-1) [batch, heads, queries, keys];
    embeddings; finalNorm; layers.N.SITE with the sites input, attentionNorm,
    unplacedQuery and unplacedKey (before positions are rotated in), query, key,
    value, attention, attentionOutput, afterAttention, feedForwardNorm, gate, up,
    feedForwardOutput, output. Layers count from 0. Of a tower: vision.hidden.0 to
    vision.hidden.L (after the last layer), vision.attention.0 ...,
    vision.layers.N.SITE, and vision.projected, what the decoder gets; the same with
    audio instead of vision of a tower for sound.

    Left- or right-padded batches keep their side. Rows of padding are 0, and the
    output then holds attention_mask too.
    """
  static let inputs = Option<String>.required("inputs", "FILE", "safetensors file with the inputs")
  static let output = Option<String>.required("output", short: "o", "FILE", "safetensors file to write")
  static let capture = Option<[String]>.list(
    "capture", "LIST", absence: "logits, hidden states and attention", "names to save, with commas between")
  static let positionals = [Positional.model]
  static let options =
    [inputs.declaration, output.declaration, capture.declaration] + AdapterOptions.declarations
  static let examples = [
    Example(purpose: "Everything", line: "trace model --inputs in.safetensors -o out.safetensors"),
    Example(
      purpose: "The last hidden states and the queries of layer 1",
      line:
        "trace model --inputs in.safetensors -o out.safetensors \\\n    --capture finalNorm,layers.1.query"),
  ]

  private let model: String
  private let adapter: AdapterOptions
  private let inputs: String
  private let output: String
  private let names: [String]

  init(_ arguments: Arguments) throws(UsageError) {
    model = try arguments[Positional.model]
    adapter = try AdapterOptions(arguments)
    inputs = try arguments[Self.inputs]
    output = try arguments[Self.output]
    names = try arguments[Self.capture]
  }

  func validate() throws(UsageError) {
    let files = [inputs, output].map {
      URL(fileURLWithPath: $0).resolvingSymlinksInPath().standardizedFileURL.path
    }
    if files[0] == files[1] {
      throw .conflict(
        reason: "--output would replace the file of --inputs, \(inputs)", remedy: "name another file to write"
      )
    }
  }

  func run(_ session: Session) throws -> ExitStatus {
    let checkpoint = try adapter.checkpoint(model)
    let trace = try Trace(checkpoint.model, names: names.isEmpty ? nil : names)
    let file = try SafetensorsFile(path: inputs)
    let traceInputs = try TraceInputs(file.tensors, path: inputs, model: checkpoint.model)
    let tensors = try trace.run(traceInputs)
    try SafetensorsWriter.write(tensors: tensors, to: output)
    let elementCount = tensors.reduce(0) { $0 + $1.elementCount }
    if session.console.wantsJSON {
      let list = tensors.map { tensor -> JSONValue in
        [
          "name": .string(tensor.name), "type": .string(tensor.elementType.rawValue),
          "shape": .array(tensor.shape.map(JSONValue.integer)),
        ]
      }
      try session.console.document([
        "output": .string(output), "sequences": .integer(traceInputs.rows.count),
        "elements": .integer(elementCount),
        "tensors": .array(list),
      ])
    } else {
      var table = TextTable([.text("name"), .text("type"), .text("shape")])
      for tensor in tensors {
        table.append([tensor.name, tensor.elementType.rawValue, Support.shape(tensor.shape)])
      }
      try session.console.write(table.text)
      session.console.note(
        "\(tensors.count) tensors with \(Support.grouped(elementCount)) elements written to \(output)")
    }
    return .success
  }
}
