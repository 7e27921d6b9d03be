"""Writes a random LLaMA checkpoint in the Hugging Face layout, and inputs for it.

The weights are normal with the given deviation, so that attention is neither uniform nor peaked on one key. The same
seed gives the same bytes.
"""

import argparse
import json
import pathlib

import torch
from safetensors.torch import save_file


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=pathlib.Path, help="folder to write")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--key-value-heads", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--inner", type=int, default=2816, help="inner width of the feed-forward layers")
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    parser.add_argument("--deviation", type=float, default=0.03, help="standard deviation of the weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--tokens", type=int, nargs="*", default=[1024, 2048, 4096, 8192],
        help="lengths for which inputs-<length>.safetensors is written")
    return parser.parse_args()


def main():
    options = parse_arguments()
    generator = torch.Generator().manual_seed(options.seed)
    dtype = getattr(torch, options.dtype)
    head_size = options.hidden // options.heads
    key_width = options.key_value_heads * head_size

    def matrix(rows, columns):
        return (torch.randn(rows, columns, generator=generator) * options.deviation).to(dtype)

    tensors = {"model.embed_tokens.weight": matrix(options.vocabulary, options.hidden)}
    for layer in range(options.layers):
        prefix = f"model.layers.{layer}."
        tensors |= {
            prefix + "input_layernorm.weight": torch.ones(options.hidden, dtype=dtype),
            prefix + "self_attn.q_proj.weight": matrix(options.hidden, options.hidden),
            prefix + "self_attn.k_proj.weight": matrix(key_width, options.hidden),
            prefix + "self_attn.v_proj.weight": matrix(key_width, options.hidden),
            prefix + "self_attn.o_proj.weight": matrix(options.hidden, options.hidden),
            prefix + "post_attention_layernorm.weight": torch.ones(options.hidden, dtype=dtype),
            prefix + "mlp.gate_proj.weight": matrix(options.inner, options.hidden),
            prefix + "mlp.up_proj.weight": matrix(options.inner, options.hidden),
            prefix + "mlp.down_proj.weight": matrix(options.hidden, options.inner),
        }
    tensors["model.norm.weight"] = torch.ones(options.hidden, dtype=dtype)
    tensors["lm_head.weight"] = matrix(options.vocabulary, options.hidden)

    options.output.mkdir(parents=True, exist_ok=True)
    save_file(tensors, options.output / "model.safetensors", metadata={"format": "pt"})
    configuration = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": options.hidden,
        "intermediate_size": options.inner,
        "num_hidden_layers": options.layers,
        "num_attention_heads": options.heads,
        "num_key_value_heads": options.key_value_heads,
        "head_dim": head_size,
        "vocab_size": options.vocabulary,
        "max_position_embeddings": 16384,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": options.dtype,
    }
    (options.output / "config.json").write_text(json.dumps(configuration, indent=2) + "\n")
    for count in options.tokens:
        ids = torch.randint(3, options.vocabulary, (1, count), generator=generator)
        ids[0, 0] = 1
        save_file({"input_ids": ids}, options.output / f"inputs-{count}.safetensors")


if __name__ == "__main__":
    main()
