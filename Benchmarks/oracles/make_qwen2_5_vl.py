"""Writes a small random Qwen2.5-VL checkpoint and what transformers computes with it.

    python make_qwen2_5_vl.py OUTPUT_FOLDER

The folder gets model.safetensors and config.json as they are published (flat text settings), config.transformers5.json and
key_layouts.json as transformers 5 writes them, expected.safetensors and case.json. The classes of transformers compute
everything, on the CPU with eager attention, in float32; tensors ending in `_f64` are the same computation in float64, for
which the places where the classes round to float32 are replaced.

Needs torch, transformers 5 and safetensors.
"""

import json
import platform
import sys
from pathlib import Path

import safetensors
import torch
import transformers
from safetensors.torch import save_file
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as modeling

SEED = 2501
START, END, IMAGE, VIDEO = 256, 257, 258, 259
VISION = dict(
    depth=3, hidden_size=32, hidden_act="silu", intermediate_size=44, num_heads=2, patch_size=4,
    spatial_merge_size=2, temporal_patch_size=2, window_size=16, fullatt_block_indexes=[1],
    tokens_per_second=2, out_hidden_size=64)
TEXT = dict(
    vocab_size=260, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, rms_norm_eps=1e-6, max_position_embeddings=512)
# Merged into 3 x 5 and 2 x 3 blocks; a window is 2 x 2 blocks, so windows of 4, 2 and 1 blocks occur.
GRIDS = {"A": [1, 4, 6], "B": [1, 6, 10], "V": [3, 6, 4]}
# 1.5 positions for a step in time, so that rounding down matters.
SECONDS = 0.75


def published_config():
    """config.json with the layout of the published checkpoints."""
    vision = {k: v for k, v in VISION.items()}
    vision.update(in_chans=3, spatial_patch_size=VISION["patch_size"])
    return dict(
        architectures=["Qwen2_5_VLForConditionalGeneration"], attention_dropout=0.0, bos_token_id=1, eos_token_id=2,
        vision_start_token_id=START, vision_end_token_id=END, vision_token_id=255, image_token_id=IMAGE,
        video_token_id=VIDEO, hidden_act="silu", initializer_range=0.02, max_window_layers=3,
        model_type="qwen2_5_vl", rope_theta=1000000.0, sliding_window=32768, tie_word_embeddings=False,
        torch_dtype="float32", transformers_version="4.41.2", use_cache=True, use_sliding_window=False,
        vision_config=vision, rope_scaling={"type": "mrope", "mrope_section": [2, 3, 3]}, **TEXT)


def randomise(model, generator):
    """Weights that give uneven attention and activations of about 1."""
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name or "ln_q" in name:
                parameter.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.2 * noise)
            elif "embed_tokens" in name:
                parameter.copy_(0.7 * noise)
            else:
                gain = 1.6 if any(part in name for part in ("qkv", "q_proj", "k_proj")) else 1.0
                parameter.copy_(gain * noise / parameter[0].numel() ** 0.5)


class Recorder:
    """Keeps what the classes compute inside: attention probabilities and the outputs of vision blocks."""

    def __init__(self, model):
        self.model = model
        self.attention = {}
        self.blocks = {}
        self.original = modeling.eager_attention_forward
        layers = {block.attn: i for i, block in enumerate(model.model.visual.blocks)}

        def eager(module, *arguments, **keywords):
            output, probabilities = self.original(module, *arguments, **keywords)
            if module in layers:
                self.attention.setdefault(layers[module], []).append(probabilities.detach()[0])
            return output, probabilities

        modeling.eager_attention_forward = eager
        self.hooks = [
            block.register_forward_hook(lambda _, __, output, i=i: self.blocks.__setitem__(i, output.detach()))
            for i, block in enumerate(model.model.visual.blocks)
        ]

    def clear(self):
        self.attention, self.blocks = {}, {}


def make_exact():
    """Lets the classes keep float64 where they would round to float32."""

    def norm(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    def rotate_vision(q, k, cos, sin):
        cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
        return q * cos + modeling.rotate_half(q) * sin, k * cos + modeling.rotate_half(k) * sin

    def vision_tables(self, x, position_ids):
        width = self.config.hidden_size // self.config.num_heads // 2
        frequency = 1.0 / 10000.0 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
        angles = position_ids[..., None].double() * frequency
        return self.recomposition_frequencies(angles.cos()), self.recomposition_frequencies(angles.sin())

    def text_tables(self, x, position_ids):
        width = self.config.hidden_size // self.config.num_attention_heads
        frequency = 1.0 / 1000000.0 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
        angles = position_ids.expand(3, -1, -1)[..., None].double() * frequency
        return self.recomposition_frequencies(angles.cos()), self.recomposition_frequencies(angles.sin())

    def attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **keywords):
        key = modeling.repeat_kv(key, module.num_key_value_groups)
        value = modeling.repeat_kv(value, module.num_key_value_groups)
        logits = torch.matmul(query, key.transpose(2, 3)) * scaling
        probabilities = torch.softmax(logits if attention_mask is None else logits + attention_mask, dim=-1)
        return torch.matmul(probabilities, value).transpose(1, 2).contiguous(), probabilities

    modeling.Qwen2_5_VLRMSNorm.forward = norm
    modeling.apply_rotary_pos_emb_vision = rotate_vision
    modeling.Qwen2_5_VLVisionRotaryEmbedding.forward = vision_tables
    modeling.Qwen2_5_VLRotaryEmbedding.forward = text_tables
    modeling.eager_attention_forward = attention


def vision_inputs(generator):
    count = 3 * VISION["temporal_patch_size"] * VISION["patch_size"] ** 2
    return {
        name: torch.randn((grid[0] * grid[1] * grid[2], count), generator=generator) for name, grid in GRIDS.items()
    }


def tokens(text_lengths, media, generator):
    """Runs of random text around media: ids and mm_token_type_ids."""
    ids, kinds = [], []
    for index, length in enumerate(text_lengths):
        ids += torch.randint(3, 250, (length,), generator=generator).tolist()
        kinds += [0] * length
        if index < len(media):
            time, height, width = GRIDS[media[index]]
            rows = time * height * width // VISION["spatial_merge_size"] ** 2
            kind = 2 if media[index] == "V" else 1
            ids += [START] + [VIDEO if kind == 2 else IMAGE] * rows + [END]
            kinds += [0] + [kind] * rows + [0]
    return ids, kinds


def sequences(generator):
    """The prompts: which media each has."""
    return {
        "B": (tokens([4, 5], ["B"], generator), ["B"]),
        "AB": (tokens([3, 2, 4], ["A", "B"], generator), ["A", "B"]),
        "AV": (tokens([2, 3, 5], ["A", "V"], generator), ["A", "V"]),
        "text": (tokens([9], [], generator), []),
    }


def arguments(rows, pixels):
    """Keyword arguments of the model for a left-padded batch of sequences."""
    width = max(len(ids) for (ids, _), _ in rows)
    media = [name for _, names in rows for name in names]
    images, videos = [m for m in media if m != "V"], [m for m in media if m == "V"]
    result = dict(
        input_ids=torch.tensor([[0] * (width - len(ids)) + ids for (ids, _), _ in rows]),
        mm_token_type_ids=torch.tensor([[0] * (width - len(k)) + k for (_, k), _ in rows]),
        attention_mask=torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for (ids, _), _ in rows]))
    if images:
        result["pixel_values"] = torch.cat([pixels[m] for m in images])
        result["image_grid_thw"] = torch.tensor([GRIDS[m] for m in images])
    if videos:
        result["pixel_values_videos"] = torch.cat([pixels[m] for m in videos])
        result["video_grid_thw"] = torch.tensor([GRIDS[m] for m in videos])
        result["second_per_grid_ts"] = torch.tensor([SECONDS] * len(videos))
    return result


def compute(model, recorder, pixels, prompts):
    """Every tensor of the case under its name."""
    out = {}
    with torch.no_grad():
        for name, grid in GRIDS.items():
            recorder.clear()
            result = model.model.visual(pixels[name], grid_thw=torch.tensor([grid]))
            for layer, block in recorder.blocks.items():
                out[f"vision{name}.block.{layer}"] = block
            for layer, segments in recorder.attention.items():
                out[f"vision{name}.attn.{layer}"] = torch.cat([p.reshape(-1) for p in segments])
                out[f"vision{name}.segments.{layer}"] = torch.tensor([p.shape[-1] for p in segments])
            out[f"vision{name}.merged"] = result.pooler_output
        cases = {name: [row] for name, row in prompts.items()}
        cases["left"] = [prompts["AV"], prompts["AB"]]
        for name, rows in cases.items():
            keywords = arguments(rows, pixels)
            details = name in ("AV", "AB")
            model.model.rope_deltas = None
            text = {}
            hook = model.model.language_model.register_forward_pre_hook(
                lambda _, __, kwargs: text.update(kwargs), with_kwargs=True)
            result = model(**keywords, output_hidden_states=details, output_attentions=details, use_cache=False)
            hook.remove()
            out[f"{name}.logits"] = result.logits
            if name != "text":
                out[f"{name}.position_ids_3d"] = text["position_ids"]
                out[f"{name}.rope_deltas"] = model.model.rope_deltas
                out[f"{name}.inputs_embeds"] = text["inputs_embeds"]
            if details:
                for layer, hidden in enumerate(result.hidden_states):
                    out[f"{name}.hidden.{layer}"] = hidden
                for layer, probabilities in enumerate(result.attentions):
                    out[f"{name}.attn.{layer}"] = probabilities
        keywords = arguments([prompts["AV"]], pixels)
        model.model.rope_deltas = None
        generated = model.generate(
            **keywords, max_new_tokens=6, do_sample=False, eos_token_id=None, output_logits=True,
            return_dict_in_generate=True)
        out["gen.generated_ids"] = generated.sequences[:, keywords["input_ids"].shape[1]:]
        out["gen.step_logits"] = torch.stack(generated.logits, dim=1)
    return out


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(SEED)
    config = Qwen2_5_VLConfig.from_dict(published_config())
    config._attn_implementation = "eager"
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    model.set_attn_implementation("eager")
    model.generation_config.pad_token_id = 0
    randomise(model, generator)
    model.save_pretrained(folder)
    (folder / "config.json").rename(folder / "config.transformers5.json")
    (folder / "config.json").write_text(json.dumps(published_config(), indent=1))
    with safetensors.safe_open(folder / "model.safetensors", "pt") as file:
        written = sorted(file.keys())
    (folder / "key_layouts.json").write_text(
        json.dumps({"transformers_5_save_pretrained": written, "state_dict": sorted(model.state_dict())}, indent=0))
    reloaded = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()
    pixels = vision_inputs(generator)
    prompts = sequences(generator)

    keywords = arguments([prompts["AV"]], pixels)
    with torch.no_grad():
        reload = (model(**keywords).logits - reloaded(**keywords).logits).abs().max().item()
    out = compute(model, Recorder(model), pixels, prompts)
    make_exact()
    exact_model = model.double()
    exact = compute(
        exact_model, Recorder(exact_model), {k: v.double() for k, v in pixels.items()}, prompts)

    rounding = {}
    for name, value in out.items():
        if not value.is_floating_point():
            assert torch.equal(value, exact[name]), name
            continue
        kind = "#".join(part for part in [name.rstrip("0123456789")] if part)
        difference = (value.double() - exact[name]).abs().max().item()
        rounding[kind] = max(difference, rounding.get(kind, 0.0))
    tensors = dict(out)
    for name in ("AV.logits", "AB.logits", "visionB.merged", "visionV.merged"):
        tensors[name + "_f64"] = exact[name]
    for name, value in pixels.items():
        tensors[f"vision{name}.pixel_values"] = value
        tensors[f"vision{name}.grid_thw"] = torch.tensor([GRIDS[name]])
    for name, row in list(prompts.items()) + [("left", None)]:
        keywords = arguments([prompts["AV"], prompts["AB"]] if row is None else [row], pixels)
        tensors[f"{name}.input_ids"] = keywords["input_ids"]
        if row is None:
            tensors["left.attention_mask"] = keywords["attention_mask"]
        for key in ("image_grid_thw", "video_grid_thw", "second_per_grid_ts"):
            if key in keywords:
                tensors[f"{name}.{key}"] = keywords[key]
    tensors = {name: value.clone().contiguous() for name, value in sorted(tensors.items())}
    save_file(tensors, folder / "expected.safetensors")
    best = out["gen.step_logits"].topk(2, dim=-1).values
    margin = (best[..., 0] - best[..., 1]).min().item()
    assert margin > 0.01, f"two tokens are {margin} apart: take another seed"
    even = {
        name: out[f"AV.attn.{layer}"].max(-1).values.mean().item()
        for layer, name in enumerate(["layer 0", "layer 1", "layer 2"])
    }
    case = {
        "case": "qwen2_5_vl",
        "what": "Qwen2_5_VLForConditionalGeneration: ViT with RMS norms, SwiGLU, windows and 2-D rotary embedding, 2x2 merger, M-RoPE with seconds.",
        "checkpoint": ".",
        "made_by": "Benchmarks/oracles/make_qwen2_5_vl.py",
        "seed": SEED,
        "config": {"vision": VISION, "text": TEXT, "grids": GRIDS, "seconds_per_grid": SECONDS},
        "inputs": {
            "visionX": "random flattened patches of the grid, X in A, B (images), V (video)",
            "B, AB, AV": "text around image B; images A and B; image A and video V",
            "left": "left padded batch (pad 0) [AV, AB]",
            "text": "no medium",
            "gen": "6 greedy tokens after AV",
        },
        "keys": {
            "visionX.block.i": "output of vision block i [patches, width], in the order of the windows",
            "visionX.attn.i": "vision attention probabilities, [heads, rows, rows] of one segment after another, flat",
            "visionX.segments.i": "rows of each segment: windows, or frames where the block attends to whole frames",
            "visionX.merged": "merger output [rows, hidden], in the order of the blocks",
            "X.position_ids_3d": "[3, batch, tokens] (t, h, w) positions handed to the text model",
            "X.rope_deltas": "max position + 1 - length",
        },
        "padding_rule": "compare only attention_mask == 1",
        "mean_max_attention_probability": {name: round(value, 3) for name, value in even.items()},
        "smallest_gap_of_the_best_two_logits": round(margin, 4),
        "reload_max_abs_diff": reload,
        "f32_vs_f64": {name: float(f"{value:.3g}") for name, value in sorted(rounding.items())},
        "tolerance": {
            "logits_abs_vs_f32": 0.0002, "logits_abs_vs_f64": 0.0001, "attn_abs": 2e-05, "hidden_abs": 0.0001},
        "tensors": {
            name: [str(value.dtype).split(".")[1], list(value.shape)] for name, value in tensors.items()},
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__,
            "transformers": transformers.__version__, "safetensors": safetensors.__version__},
    }
    (folder / "case.json").write_text(json.dumps(case, indent=1))
    print(json.dumps({key: case[key] for key in ("smallest_gap_of_the_best_two_logits", "reload_max_abs_diff", "f32_vs_f64")}))
    print(sum(value.numel() for value in tensors.values()), "elements;", (folder / "expected.safetensors").stat().st_size)


if __name__ == "__main__":
    main()
