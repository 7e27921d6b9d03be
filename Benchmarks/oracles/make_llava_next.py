"""Makes Tests/Fixtures/llava_next: a tiny LLaVA-NeXT with random weights and what transformers computes with it.

    python make_llava_next.py TOKENIZER_FOLDER OUTPUT_FOLDER

TOKENIZER_FOLDER has the tokenizer files of Tests/Fixtures/llava. Needs torch, transformers, safetensors, numpy, pillow.
The configuration, tensor names and preprocessor settings are written as llava-v1.6-vicuna-7b-hf has them on the Hub; the
names and configuration that the installed transformers writes are kept beside them.
"""

import json
import pathlib
import shutil
import sys

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration
from transformers.models.llava_next.image_processing_llava_next import LlavaNextImageProcessor

SEED = 2201
PINPOINTS = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]
IMAGE, PAD = 512, 513
TEXT = dict(
    vocab_size=514, hidden_size=32, intermediate_size=56, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, rms_norm_eps=1e-5, max_position_embeddings=512, pad_token_id=PAD, model_type="llama",
)
VISION = dict(
    hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=3, image_size=28, patch_size=7,
    projection_dim=16, model_type="clip_vision_model",
)
PREPROCESSOR = {
    "aspect_ratio_setting": "anyres", "crop_size": {"height": 28, "width": 28}, "do_center_crop": True,
    "do_convert_rgb": True, "do_normalize": True, "do_pad": True, "do_rescale": True, "do_resize": True,
    "image_grid_pinpoints": PINPOINTS, "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "LlavaNextImageProcessor", "image_std": [0.26862954, 0.26130258, 0.27577711],
    "processor_class": "LlavaNextProcessor", "resample": 3, "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 28},
}


def picture(height, width, seed):
    """A smooth picture with some noise, uint8 [height, width, 3]."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [128 + 90 * np.sin(0.11 * (c + 1) * x + 0.07 * y + c) for c in range(3)]
    noise = generator.normal(0, 18, (height, width, 3))
    return np.clip(np.stack(planes, -1) + noise, 0, 255).astype(np.uint8)


def make_model():
    torch.manual_seed(SEED)
    config = LlavaNextConfig(
        text_config=dict(TEXT), vision_config=dict(VISION), image_token_index=IMAGE,
        image_grid_pinpoints=PINPOINTS, vision_feature_layer=-2, vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    config._attn_implementation = "eager"
    model = LlavaNextForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2:
                fan_in = weight[0].numel()
                scale = 1.0 if "embed" in name else 2.2 if ("q_proj" in name or "k_proj" in name) else 1.2
                weight.normal_(0, scale / (fan_in ** 0.5 if "embed" not in name or "patch" in name else 1))
            elif "norm" in name and name.endswith("weight"):
                weight.normal_(1, 0.1)
            else:
                weight.normal_(0, 0.3 if "newline" in name or "class" in name else 0.05)
    return model


def hub_name(name):
    """The name of a tensor as LLaVA-NeXT checkpoints on the Hub have it, from the one the installed version writes."""
    name = name.removeprefix("model.") if name.startswith("model.") else name
    if name.startswith("language_model.") and not name.startswith(("language_model.model.", "language_model.lm_head")):
        name = name.replace("language_model.", "language_model.model.", 1)
    if name.startswith("lm_head"):
        name = "language_model." + name
    if name.startswith("vision_tower.") and not name.startswith("vision_tower.vision_model."):
        name = name.replace("vision_tower.", "vision_tower.vision_model.", 1)
    return name


def middle_name(name):
    """The name as transformers 4.52 to 4.57 write it, by rule."""
    if name.startswith("language_model.lm_head"):
        return name.removeprefix("language_model.")
    return "model." + name.replace("language_model.model.", "language_model.", 1)


def main(tokenizer, output):
    tokenizer, output = pathlib.Path(tokenizer), pathlib.Path(output)
    output.mkdir(parents=True, exist_ok=True)
    model = make_model()
    model.save_pretrained(output)
    written = load_file(output / "model.safetensors")
    hub = {hub_name(name): tensor.contiguous() for name, tensor in written.items()}
    save_file(hub, output / "model.safetensors", metadata={"format": "pt"})
    layouts = {
        "hub": sorted(hub), f"transformers_{transformers.__version__}_save_pretrained": sorted(written),
        "transformers_4.52_to_4.57_save_pretrained": sorted(middle_name(name) for name in hub),
    }
    (output / "key_layouts.json").write_text(json.dumps(layouts, indent=1))
    (output / "config.json").rename(output / "config.transformers5.json")
    (output / "config.json").write_text(json.dumps({
        "architectures": ["LlavaNextForConditionalGeneration"], "ignore_index": -100,
        "image_grid_pinpoints": PINPOINTS, "image_token_index": IMAGE, "model_type": "llava_next",
        "projector_hidden_act": "gelu", "text_config": TEXT, "torch_dtype": "float32",
        "transformers_version": "4.39.0.dev0", "use_image_newline_parameter": True, "vision_config": VISION,
        "vision_feature_layer": -2, "vision_feature_select_strategy": "default",
    }, indent=1))
    (output / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=1))
    for name in ["tokenizer.model", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"]:
        shutil.copy(tokenizer / name, output / name)

    # Landscape, portrait, and nearly square with a remainder on both sides.
    sizes = {"A": (37, 90), "B": (61, 26), "C": (50, 47)}
    processor = LlavaNextImageProcessor(**{
        key: value for key, value in PREPROCESSOR.items()
        if key not in ("processor_class", "image_processor_type", "aspect_ratio_setting")})
    tensors, media, averages = {}, {}, []
    for name, (height, width) in sizes.items():
        image = picture(height, width, SEED + len(media))
        batch = processor(images=[image], return_tensors="pt")
        media[name] = (batch["pixel_values"].float(), batch["image_sizes"])
        tensors[f"{name}.image_u8"] = torch.from_numpy(image)
        tensors[f"{name}.pixel_values"] = media[name][0]
        tensors[f"{name}.image_sizes"] = media[name][1]

    def rows_of(name):
        with torch.no_grad():
            features = model.get_image_features(*media[name]).pooler_output[0]
        return features

    counts = {}
    for name in sizes:
        features = rows_of(name)
        counts[name] = features.shape[0]
        tensors[f"{name}.image_features"] = features

    generator = torch.Generator().manual_seed(SEED)

    def words(count):
        return torch.randint(3, 500, (count,), generator=generator).tolist()

    def sequence(*names):
        ids = [1] + words(4)
        for name in names:
            ids += [IMAGE] * counts[name] + words(3)
        return ids + words(4)

    sequences = {"A": [sequence("A")], "B": [sequence("B")], "AC": [sequence("A", "C")],
                 "left": [sequence("B"), sequence("C")], "text": [[1] + words(12)]}
    used = {"A": "A", "B": "B", "AC": "AC", "left": "BC", "text": ""}
    double = make_model()
    double.load_state_dict(model.state_dict())
    double = double.double()
    noise = {}
    for case, batch in sequences.items():
        width = max(map(len, batch))
        ids = torch.tensor([[PAD] * (width - len(row)) + row for row in batch])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in batch])
        inputs = {"input_ids": ids, "attention_mask": mask}
        if case == "left":
            inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        if used[case]:
            tiles = max(media[name][0].shape[1] for name in used[case])
            padded = [torch.nn.functional.pad(media[name][0], (0, 0) * 3 + (0, tiles - media[name][0].shape[1]))
                      for name in used[case]]
            inputs["pixel_values"] = torch.cat(padded)
            inputs["image_sizes"] = torch.cat([media[name][1] for name in used[case]])
        with torch.no_grad():
            out = model(**inputs, output_hidden_states=True, output_attentions=True)
            exact = double(**{k: v.double() if v.is_floating_point() else v for k, v in inputs.items()})
        for key, value in inputs.items():
            if key != "attention_mask" or len(batch) > 1:
                tensors[f"{case}.{key}"] = value
        # Logits are wide: of the other cases the hidden states, the last of them after the final norm, say as much.
        if case in ("B", "text"):
            tensors[f"{case}.logits"] = out.logits
            tensors[f"{case}.logits_f64"] = exact.logits.double()
            noise[case] = (out.logits.double() - exact.logits)[mask == 1].abs().max().item()
        for i, state in enumerate(out.hidden_states):
            tensors[f"{case}.hidden.{i}"] = state
        if case == "B":
            for i, attention in enumerate(out.attentions):
                tensors[f"B.attn.{i}"] = attention
                averages.append(round(attention.amax(-1).mean().item(), 3))
    # The tower on the tiles of B.
    with torch.no_grad():
        tower = model.model.vision_tower(
            media["B"][0][0], output_hidden_states=True, output_attentions=True)
    for i, state in enumerate(tower.hidden_states):
        tensors[f"B.vision.hidden.{i}"] = state
    for i, attention in enumerate(tower.attentions):
        tensors[f"B.vision.attn.{i}"] = attention
    # Greedy continuation of B.
    ids = torch.tensor(sequences["B"])
    with torch.no_grad():
        generated = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=media["B"][0],
            image_sizes=media["B"][1], max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=PAD,
            output_logits=True, return_dict_in_generate=True)
    tensors["gen.generated_ids"] = generated.sequences[:, ids.shape[1]:]
    tensors["gen.step_logits"] = torch.stack(generated.logits, 1)
    margins = tensors["gen.step_logits"][0].topk(2).values
    tensors = {key: value.contiguous().clone() for key, value in tensors.items()}
    save_file(tensors, output / "expected.safetensors")
    case = {
        "case": "llava_next",
        "what": "LlavaNextForConditionalGeneration: CLIP tiles (AnyRes), overview first, padding removed, a learned newline "
                "row after every line of patches; llama text model; eager float32, logits also float64.",
        "checkpoint": ".", "seed": SEED,
        "inputs": "A/B/C: pictures through the real LlavaNextImageProcessor (X.image_u8 is the picture); A, B: one image, AC: two "
                  "in one sequence, left: left padded batch of B and C (pad 513), text: no image; gen: greedy after B",
        "keys": {"X.image_features": "rows of an image: overview, then lines with their newline",
                 "B.vision.hidden.i": "hidden states of the tower, [tiles, 1 + patches, hidden]",
                 "others": "as in the llava case"},
        "padding_rule": "compare only attention_mask == 1",
        "rows_per_image": counts, "logits_f32_vs_f64": noise,
        "min_top1_top2_margin": (margins[:, 0] - margins[:, 1]).min().item(),
        "mean_max_prob_per_layer": averages,
        "tolerance": {"logits_abs_vs_f32": 2e-4, "logits_abs_vs_f64": 1e-4, "attn_abs": 2e-5, "hidden_abs": 1e-4},
        "tensors": {key: [str(value.dtype).removeprefix("torch."), list(value.shape)]
                    for key, value in sorted(tensors.items())},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "numpy": np.__version__},
    }
    (output / "case.json").write_text(json.dumps(case, indent=1))
    (output / "generation_config.json").unlink(missing_ok=True)
    reloaded = LlavaNextForConditionalGeneration.from_pretrained(output, attn_implementation="eager").eval()
    with torch.no_grad():
        again = reloaded(input_ids=torch.tensor(sequences["B"]), pixel_values=media["B"][0],
                         image_sizes=media["B"][1]).logits
    print("reloaded with Hub names, largest difference:", (again - tensors["B.logits"]).abs().max().item())
    print(json.dumps({key: case[key] for key in ("rows_per_image", "logits_f32_vs_f64", "min_top1_top2_margin")}))


if __name__ == "__main__":
    main(*sys.argv[1:])
