import RunKit
import TensorCore

/// Files of a made-up model, so small that most changes meet structure.
///
/// The audio-visual model has 26 ids, a hidden size of 8, one layer of two heads, images of 2 x 2 pixels as four rows
/// and sounds of 2 bands x 4 frames as two rows.
enum CheckpointBytes {
  /// One tensor of a file: its name, type, shape and bytes.
  struct Entry {
    let name: String
    let type: ElementType
    let shape: [Int]
    let bytes: [UInt8]

    /// Bytes as given.
    init(_ name: String, _ type: ElementType, _ shape: [Int], bytes: [UInt8]) {
      (self.name, self.type, self.shape, self.bytes) = (name, type, shape, bytes)
    }

    /// Whole numbers of 64 bits.
    init(_ name: String, _ shape: [Int], integers: [Int]) {
      self.init(name, .i64, shape, bytes: integers.flatMap { FuzzLayout.lengthField($0) })
    }

    /// Numbers of 32 bits.
    init(_ name: String, _ shape: [Int], floats: [Float]) {
      self.init(name, .f32, shape, bytes: floats.flatMap { littleEndian($0.bitPattern, count: 4) })
    }

    /// A weight: small numbers of both signs.
    init(weight name: String, _ shape: [Int]) {
      let count = shape.reduce(1, *)
      self.init(
        name, shape, floats: (0..<count).map { Float(($0 * 37 + name.utf8.count * 11) % 101 - 50) / 200 })
    }
  }

  /// The lowest `count` bytes of a number, the lowest first.
  static func littleEndian(_ number: some BinaryInteger, count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
  }

  /// A safetensors file.
  static func safetensors(_ entries: [Entry]) -> [UInt8] {
    var header = JSONObject()
    var end = 0
    for entry in entries {
      header[entry.name] = [
        "dtype": .string(entry.type.rawValue), "shape": .array(entry.shape.map { .integer($0) }),
        "data_offsets": [.integer(end), .integer(end + entry.bytes.count)],
      ]
      end += entry.bytes.count
    }
    let text = [UInt8](JSONValue.object(header).text().utf8)
    return FuzzLayout.lengthField(text.count) + text + entries.flatMap(\.bytes)
  }

  /// The words of a decoder's configuration.
  static let decoderSettings =
    #""vocab_size":26,"hidden_size":8,"intermediate_size":12,"num_hidden_layers":1,"num_attention_heads":2,"#
    + #""num_key_value_heads":1,"head_dim":4,"rms_norm_eps":1e-05,"rope_theta":10000.0,"hidden_act":"silu","#
    + #""max_position_embeddings":64,"attention_bias":false,"mlp_bias":false,"tie_word_embeddings":false,"#
    + #""bos_token_id":1,"eos_token_id":2,"pad_token_id":null"#

  /// config.json of a text model.
  static let llamaConfiguration =
    #"{"model_type":"llama","rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"#
    + #""high_freq_factor":4.0,"original_max_position_embeddings":16},\#(decoderSettings)}"#

  /// config.json of the audio-visual model.
  static let avtConfiguration =
    #"{"model_type":"avt_llama","text_config":{\#(decoderSettings)},"image_config":{"channels":1,"height":2,"#
    + #""width":2,"patch_size":1,"mean":0.4,"std":0.2},"audio_config":{"mel_bins":2,"frames":4,"#
    + #""frames_per_token":2,"mean":0.5,"std":0.1},"image_token_id":5,"audio_token_id":6}"#

  /// The weights of a text model.
  static let llamaWeights: [Entry] =
    [
      Entry(weight: "model.embed_tokens.weight", [26, 8]),
      Entry(weight: "model.layers.0.input_layernorm.weight", [8]),
      Entry(weight: "model.layers.0.self_attn.q_proj.weight", [8, 8]),
      Entry(weight: "model.layers.0.self_attn.k_proj.weight", [4, 8]),
      Entry(weight: "model.layers.0.self_attn.v_proj.weight", [4, 8]),
      Entry(weight: "model.layers.0.self_attn.o_proj.weight", [8, 8]),
      Entry(weight: "model.layers.0.post_attention_layernorm.weight", [8]),
      Entry(weight: "model.layers.0.mlp.gate_proj.weight", [12, 8]),
      Entry(weight: "model.layers.0.mlp.up_proj.weight", [12, 8]),
      Entry(weight: "model.layers.0.mlp.down_proj.weight", [8, 12]), Entry(weight: "model.norm.weight", [8]),
      Entry(weight: "lm_head.weight", [26, 8]),
    ]

  /// The weights of the audio-visual model.
  static let avtWeights =
    llamaWeights + [
      Entry(weight: "modality_embed.weight", [3, 8]), Entry(weight: "image_embed.weight", [8, 1]),
      Entry(weight: "image_embed.bias", [8]), Entry(weight: "image_position.weight", [4, 8]),
      Entry(weight: "audio_embed.weight", [8, 4]), Entry(weight: "audio_embed.bias", [8]),
      Entry(weight: "audio_position.weight", [2, 8]),
    ]

  /// What means something in a configuration.
  static let configurationWords =
    [
      "model_type", "llama", "avt_llama", "text_config", "image_config", "audio_config", "vocab_size",
      "hidden_size",
      "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
      "rope_theta",
      "rms_norm_eps", "max_position_embeddings", "attention_bias", "mlp_bias", "qk_norm",
      "tie_word_embeddings",
      "eos_token_id", "bos_token_id", "pad_token_id", "hidden_act", "gelu", "pretraining_tp",
      "partial_rotary_factor",
      "sliding_window", "quantization_config", "rope_scaling", "rope_parameters", "rope_type", "default",
      "linear",
      "llama3", "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings",
      "patch_size",
      "height", "width", "channels", "mel_bins", "frames", "frames_per_token", "mean", "std",
      "image_token_id",
      "audio_token_id",
    ]

  /// What means something in the header of a weight file.
  static let weightWords =
    avtWeights.map(\.name) + ["dtype", "shape", "data_offsets", "F32", "BF16", "F16", "I64"]
}

extension CheckpointBytes {
  /// The pieces of the tokenizer, by their ids, with what each is for (1 normal, 2 unknown, 3 control, 4 user-defined).
  static let pieces: [(text: String, kind: Int)] =
    [
      ("<unk>", 2), ("<s>", 3), ("</s>", 3), ("<|user|>", 4), ("<|assistant|>", 4), ("<image>", 4),
      ("<audio>", 4),
      ("▁", 1), ("▁a", 1), ("ab", 1),
    ] + "abcdefgh?0123456".map { (String($0), 1) }

  /// A field of a Protocol Buffers message with a length.
  static func field(_ number: Int, _ contents: [UInt8]) -> [UInt8] {
    varint(number << 3 | 2) + varint(contents.count) + contents
  }

  /// A field of a Protocol Buffers message that holds a number.
  static func field(_ number: Int, _ value: Int) -> [UInt8] { varint(number << 3) + varint(value) }

  private static func varint(_ value: Int) -> [UInt8] {
    var (bytes, rest) = ([UInt8](), value)
    while rest >= 0x80 {
      bytes.append(UInt8(rest & 0x7F) | 0x80)
      rest >>= 7
    }
    return bytes + [UInt8(rest)]
  }

  /// One piece of a model.
  static func piece(_ text: some Sequence<UInt8>, score: Float = 0, kind: Int = 1) -> [UInt8] {
    field(1, field(1, Array(text)) + [2 << 3 | 5] + littleEndian(score.bitPattern, count: 4) + field(3, kind))
  }

  /// The settings that say how a model cuts text: 1 unigram, 2 byte-pair.
  static func trainerSettings(modelType: Int) -> [UInt8] { field(2, field(3, modelType)) }

  /// The settings that say how text is prepared.
  static func normalizerSettings(characterMap: [UInt8] = []) -> [UInt8] {
    field(
      3, field(1, Array("identity".utf8)) + (characterMap.isEmpty ? [] : field(2, characterMap)) + field(3, 1)
    )
  }

  /// tokenizer.model with all pieces.
  static func tokenizer(modelType: Int = 1, characterMap: [UInt8] = [], more: [UInt8] = []) -> [UInt8] {
    pieces.enumerated().flatMap { id, piece in
      Self.piece(piece.text.utf8, score: -Float(id) / 4, kind: piece.kind)
    } + trainerSettings(modelType: modelType) + normalizerSettings(characterMap: characterMap) + more
  }

  /// A character map that writes "x" as "a": a trie of 256 units of which two are used, and its texts.
  static func characterMap(unit: UInt32? = nil, leaf: UInt32 = 1 << 31, texts: [UInt8] = [0x61, 0]) -> [UInt8]
  {
    // No label fits a unit that has its highest bit set, so nothing is found there.
    var units = [UInt32](repeating: 1 << 31, count: 256)
    let x = UInt32(UInt8(ascii: "x"))
    units[0] = 1 << 10
    units[Int(x) ^ 1] = unit ?? (128 << 10 | 1 << 8 | x)
    units[Int(x) ^ 1 ^ 128] = leaf
    return littleEndian(4 * units.count, count: 4) + units.flatMap { littleEndian($0, count: 4) } + texts
  }
}
