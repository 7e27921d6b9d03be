"""Writes the weights of a folder of make_llama.py as a GGUF file in bfloat16: MODEL FILE.

llama.cpp rotates neighbouring elements where the Hugging Face layout rotates halves, so rows of queries and keys change
places. The vocabulary is made up: tokens are given as ids.
"""

import json
import pathlib
import sys

import gguf
import numpy
from safetensors import safe_open

NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def main():
    folder, target = pathlib.Path(sys.argv[1]), sys.argv[2]
    settings = json.loads((folder / "config.json").read_text())
    heads, groups = settings["num_attention_heads"], settings["num_key_value_heads"]
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_context_length(settings["max_position_embeddings"])
    writer.add_embedding_length(settings["hidden_size"])
    writer.add_block_count(settings["num_hidden_layers"])
    writer.add_feed_forward_length(settings["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_rope_dimension_count(settings["head_dim"])
    writer.add_rope_freq_base(settings["rope_theta"])
    writer.add_layer_norm_rms_eps(settings["rms_norm_eps"])
    writer.add_vocab_size(settings["vocab_size"])
    writer.add_tokenizer_model("llama")
    count = settings["vocab_size"]
    writer.add_token_list([b"<unk>", b"<s>", b"</s>"] + [f"<{i}>".encode() for i in range(3, count)])
    writer.add_token_scores([0.0] * count)
    writer.add_token_types([2, 3, 3] + [1] * (count - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)

    import torch

    with safe_open(folder / "model.safetensors", "pt") as file:
        for name in file.keys():
            tensor = file.get_tensor(name)
            stem = name.removesuffix(".weight").removeprefix("model.")
            if stem == "embed_tokens":
                new = "token_embd.weight"
            elif stem == "norm":
                new = "output_norm.weight"
            elif stem == "lm_head":
                new = "output.weight"
            else:
                _, layer, rest = stem.split(".", 2)
                new = f"blk.{layer}.{NAMES[rest]}.weight"
            if "q_proj" in name or "k_proj" in name:
                count = heads if "q_proj" in name else groups
                tensor = tensor.reshape(count, 2, -1, tensor.shape[1]).transpose(1, 2).reshape(tensor.shape).contiguous()
            if tensor.dim() == 1:
                writer.add_tensor(new, tensor.float().numpy())
            else:
                bits = tensor.to(torch.bfloat16).view(torch.int16).numpy().view(numpy.uint8)
                writer.add_tensor(
                    new, bits.reshape(tensor.shape[0], -1), raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
