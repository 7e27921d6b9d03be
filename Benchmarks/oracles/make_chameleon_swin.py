"""Makes Tests/Fixtures/chameleon_swin: what transformers computes with the weights of Tests/Fixtures/chameleon and swin_norm.

    python make_chameleon_swin.py CHAMELEON_FOLDER OUTPUT_FOLDER
"""

import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import ChameleonConfig, ChameleonForConditionalGeneration


def main(folder, output):
    folder, output = pathlib.Path(folder), pathlib.Path(output)
    output.mkdir(parents=True, exist_ok=True)
    config = ChameleonConfig.from_pretrained(folder, swin_norm=True)
    model = ChameleonForConditionalGeneration.from_pretrained(
        folder, config=config, attn_implementation="eager", dtype=torch.float32).eval()
    ids = load_file(folder / "expected.safetensors")["a.input_ids"]
    tensors = {"a.input_ids": ids}
    with torch.no_grad():
        out = model(input_ids=ids, output_hidden_states=True, output_attentions=True)
        exact = model.double()(input_ids=ids).logits
    for i, state in enumerate(out.hidden_states):
        tensors[f"a.hidden.{i}"] = state
    for i, attention in enumerate(out.attentions):
        tensors[f"a.attn.{i}"] = attention
    codes = [v for k, v in config.vocabulary_map.items() if k.startswith("IMGIMG")]
    text = [i for i in range(out.logits.shape[-1]) if i not in codes]
    difference = (out.logits.double() - exact)[..., text].abs().max().item()
    out.logits[..., codes] = -1e9
    exact[..., codes] = -1e9
    tensors["a.logits"], tensors["a.logits_f64"] = out.logits, exact
    tensors = {key: value.contiguous().clone() for key, value in tensors.items()}
    save_file(tensors, output / "expected.safetensors")
    case = {
        "case": "chameleon_swin",
        "what": "the weights of ../chameleon with swin_norm true: x + norm(attn(x)), then x + norm(mlp(x))",
        "checkpoint": "../chameleon", "logits_note": "columns of image codes hold -1e9",
        "logits_f32_vs_f64": difference,
        "tolerance": {"logits_abs_vs_f32": 2e-4, "logits_abs_vs_f64": 1e-4, "attn_abs": 2e-5, "hidden_abs": 1e-4},
        "tensors": {key: [str(value.dtype).removeprefix("torch."), list(value.shape)]
                    for key, value in sorted(tensors.items())},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    (output / "case.json").write_text(json.dumps(case, indent=1))
    print(difference, {k: v.abs().max().item() for k, v in tensors.items() if "hidden" in k})


if __name__ == "__main__":
    main(*sys.argv[1:])
