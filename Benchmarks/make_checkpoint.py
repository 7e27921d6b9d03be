"""Writes a random checkpoint with the exact shapes of a published model, in the Hugging Face layout.

    make_checkpoint.py llava-1.5-7b FOLDER        LLaVA-1.5-7B: CLIP ViT-L/14-336, LLaMA 7B          14.1 GB in bfloat16
    make_checkpoint.py qwen2-vl-2b FOLDER         Qwen2-VL-2B                                         4.4 GB
    make_checkpoint.py tinyllama-llava FOLDER     CLIP ViT-L/14-336, TinyLlama 1.1B                   2.8 GB

Names and shapes are those of transformers' own class for the configuration, made without memory for its weights. Norm weights are 1,
biases 0, everything else normal; the same seed gives the same bytes. The numbers mean nothing: such a folder is for time
and memory. Inputs for `mmprobe bench-forward` are written beside it.
"""

import argparse
import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import (
    CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, Qwen2VLConfig,
    Qwen2VLForConditionalGeneration)

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parent / "Tests/Fixtures"
SHARD_BYTES = 2 << 30
IMAGE, PAD = 32000, 32001


def llava(text):
    """A LLaVA-1.5 around a language model."""
    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
        patch_size=14, projection_dim=768)
    return LlavaForConditionalGeneration, LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE, image_seq_length=576)


def shapes(name):
    """The class and the configuration of a published model."""
    if name == "llava-1.5-7b":
        return llava(LlamaConfig(
            vocab_size=32064, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
            num_key_value_heads=32, max_position_embeddings=4096, rms_norm_eps=1e-5, pad_token_id=PAD))
    if name == "tinyllama-llava":
        return llava(LlamaConfig(
            vocab_size=32064, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32,
            num_key_value_heads=4, max_position_embeddings=16384, rms_norm_eps=1e-5, pad_token_id=PAD))
    return Qwen2VLForConditionalGeneration, Qwen2VLConfig(
        text_config={
            "vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
            "num_attention_heads": 12, "num_key_value_heads": 2, "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}},
        vision_config={"depth": 32, "embed_dim": 1280, "hidden_size": 1536, "num_heads": 16, "patch_size": 14},
        tie_word_embeddings=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["llava-1.5-7b", "qwen2-vl-2b", "tinyllama-llava"])
    parser.add_argument("output", type=pathlib.Path, help="folder to write")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="bfloat16")
    parser.add_argument("--deviation", type=float, default=0.02, help="standard deviation of the weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--tokens", type=int, nargs="*", default=[640, 1536, 2880, 8192],
        help="prompt lengths for which inputs-<length>.safetensors is written, one image included")
    return parser.parse_args()


def random_tensor(name, shape, options, generator, dtype):
    if len(shape) == 1:
        return torch.zeros(shape, dtype=dtype) if name.endswith("bias") else torch.ones(shape, dtype=dtype)
    return torch.empty(shape, dtype=torch.float32).normal_(0, options.deviation, generator=generator).to(dtype)


def write_weights(model, options):
    """Shards of 2 GiB and their index. Tensors that share memory in the class, such as a tied head, are written once."""
    dtype = getattr(torch, options.dtype)
    generator = torch.Generator().manual_seed(options.seed)
    names = {name: parameter.shape for name, parameter in model.named_parameters()}
    shards, total = [{}], 0
    for name, shape in sorted(names.items()):
        size = shape.numel() * dtype.itemsize
        if sum(names[other].numel() for other in shards[-1]) * dtype.itemsize + size > SHARD_BYTES and shards[-1]:
            shards.append({})
        shards[-1][name] = shape
        total += size
    index = {}
    for number, shard in enumerate(shards):
        file = f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        tensors = {name: random_tensor(name, shape, options, generator, dtype) for name, shape in shard.items()}
        save_file(tensors, options.output / file, metadata={"format": "pt"})
        index |= dict.fromkeys(shard, file)
        print(f"{file}: {len(shard)} tensors", flush=True)
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=2)
    (options.output / "model.safetensors.index.json").write_text(text + "\n")


def write_llava_inputs(options, generator):
    """Prompts with one image at their begin, and the small tokenizer of the test fixture with the ids of the real one."""
    for count in options.tokens:
        ids = torch.randint(300, 500, (1, count), generator=generator)
        ids[0, 0], ids[0, 5:581] = 1, IMAGE
        pixels = torch.randn(1, 3, 336, 336, generator=generator)
        save_file({"input_ids": ids, "pixel_values": pixels}, options.output / f"inputs-{count}.safetensors")
    source = FIXTURES / "llava"
    shutil.copy(source / "tokenizer.model", options.output)
    for file in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "processor_config.json"):
        text = (source / file).read_text().replace("512", str(IMAGE)).replace("513", str(PAD))
        (options.output / file).write_text(text)
    settings = json.loads((source / "preprocessor_config.json").read_text())
    settings |= {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
    (options.output / "preprocessor_config.json").write_text(json.dumps(settings, indent=1) + "\n")


def write_qwen_inputs(options, configuration, generator):
    """Prompts with one image of 28 x 28 merged cells."""
    grid = torch.tensor([[1, 56, 56]])
    for count in options.tokens:
        cells = min(784, count - 16)
        side = 2 * int(cells**0.5)
        grid = torch.tensor([[1, side, side]])
        cells = side * side // 4
        ids = torch.randint(300, 5000, (1, count), generator=generator)
        ids[0, 4] = configuration.vision_start_token_id
        ids[0, 5:5 + cells] = configuration.image_token_id
        ids[0, 5 + cells] = configuration.vision_end_token_id
        pixels = torch.randn(side * side, 3 * 2 * 14 * 14, generator=generator)
        save_file(
            {"input_ids": ids, "pixel_values": pixels, "image_grid_thw": grid},
            options.output / f"inputs-{count}.safetensors")


def main():
    options = parse_arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    kind, configuration = shapes(options.name)
    with torch.device("meta"):
        model = kind(configuration)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{options.name}: {count:,} parameters", flush=True)
    write_weights(model, options)
    values = configuration.to_dict() | {"architectures": [kind.__name__], "dtype": options.dtype}
    (options.output / "config.json").write_text(json.dumps(values, indent=1) + "\n")
    generator = torch.Generator().manual_seed(options.seed + 1)
    if options.name == "qwen2-vl-2b":
        write_qwen_inputs(options, configuration, generator)
    else:
        write_llava_inputs(options, generator)


if __name__ == "__main__":
    main()
