"""Makes Tests/Fixtures/lora_llava: adapters of PEFT on the tiny LLaVA of Tests/Fixtures/llava and what they compute.

    python make_lora_llava.py LLAVA_FOLDER OUTPUT_FOLDER

LLAVA_FOLDER is Tests/Fixtures/llava. Needs torch, transformers, peft, safetensors. Each adapter tries other rules of
PEFT: how modules are chosen, ranks and alphas by pattern, layers, biases, modules that are saved whole.
"""

import json
import pathlib
import sys

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration

SEED = 5501
# Rows from the end whose logits are kept.
ROWS = 8
ADAPTERS = {
    # A regular expression that names the decoder, ranks and alphas by pattern, the projector saved whole.
    "pattern": dict(
        r=4, lora_alpha=8, target_modules=r".*language_model.*\.(q_proj|v_proj|down_proj)",
        rank_pattern={"layers.0.self_attn.q_proj": 2, r".*\.2\.mlp\.down_proj": 3}, alpha_pattern={"v_proj": 6},
        modules_to_save=["multi_modal_projector"],
    ),
    # Ends of names, which match the image tower too; some layers; rsLoRA; every bias.
    "ends": dict(
        r=3, lora_alpha=5, target_modules=["q_proj", "fc1", "up_proj"], layers_to_transform=[0, 1],
        use_rslora=True, bias="all",
    ),
    # Every linear layer but the last.
    "linear": dict(
        r=2, lora_alpha=4, target_modules="all-linear", exclude_modules=["k_proj"], bias="lora_only"),
    # The same ends below one name of the list of layers.
    "layers": dict(
        r=2, lora_alpha=2, target_modules=["self_attn.o_proj", "out_proj"], layers_to_transform=1,
        layers_pattern="layers", modules_to_save=["lm_head"],
    ),
}


def base(folder):
    return LlavaForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()


def disturb(model):
    """Trainable parameters become what training might have left."""
    generator = torch.Generator().manual_seed(SEED)
    for name, parameter in sorted(model.named_parameters()):
        if parameter.requires_grad:
            scale = 0.2 if "lora_" in name else 0.05
            parameter.data += scale * torch.randn(parameter.shape, generator=generator)


def main():
    folder, output = (pathlib.Path(argument) for argument in sys.argv[1:3])
    output.mkdir(parents=True, exist_ok=True)
    inputs = load_file(folder / "expected.safetensors")
    pixels = inputs["pixel_values"][:1].contiguous()
    ids = inputs["single.input_ids"]
    labels = ids.clone()
    labels[:, :-8] = -100
    expected = {"pixel_values": pixels, "input_ids": ids, "labels": labels}
    notes = {}
    for name, settings in ADAPTERS.items():
        torch.manual_seed(SEED)
        model = get_peft_model(base(folder), LoraConfig(task_type="CAUSAL_LM", **settings))
        disturb(model)
        model.eval()
        model.save_pretrained(output / f"adapter_{name}")
        result = model(input_ids=ids, pixel_values=pixels, labels=labels)
        result.loss.backward()
        expected[f"{name}.logits"] = result.logits[:, -ROWS:].detach()
        expected[f"{name}.loss"] = result.loss.detach().reshape(1)
        for key, parameter in model.named_parameters():
            if parameter.grad is None:
                continue
            plain = key.replace(".default", "").replace(".modules_to_save", "")
            expected[f"{name}.grad.{plain}"] = parameter.grad.clone()
        reloaded = PeftModel.from_pretrained(base(folder), output / f"adapter_{name}").eval()
        with torch.no_grad():
            again = reloaded(input_ids=ids, pixel_values=pixels).logits
            merged = reloaded.merge_and_unload()(input_ids=ids, pixel_values=pixels).logits
            plain = base(folder)(input_ids=ids, pixel_values=pixels).logits
        expected[f"{name}.merged.logits"] = merged[:, -ROWS:]
        # What the files hold need not be all that was trained: "reloaded" is what a reader of the files must get.
        expected[f"{name}.reloaded.logits"] = again[:, -ROWS:]
        notes[name] = {
            "reload_vs_trained": float((again - result.logits).abs().max()),
            "merged_vs_reloaded": float((again - merged).abs().max()),
            "effect_on_logits": float((again - plain).abs().max()),
            "keys": len(load_file(output / f"adapter_{name}" / "adapter_model.safetensors")),
        }
        (output / f"adapter_{name}" / "README.md").unlink(missing_ok=True)
        path = output / f"adapter_{name}" / "adapter_config.json"
        settings = json.loads(path.read_text())
        settings["base_model_name_or_path"] = "../llava"
        if isinstance(settings["target_modules"], list):
            settings["target_modules"] = sorted(settings["target_modules"])
        if isinstance(settings["exclude_modules"], list):
            settings["exclude_modules"] = sorted(settings["exclude_modules"])
        path.write_text(json.dumps(settings, indent=1, sort_keys=True))
    metadata = {
        "script": "make_lora_llava.py", "seed": str(SEED), "torch": torch.__version__,
        "transformers": transformers.__version__, "peft": peft.__version__,
    }
    save_file({k: v.contiguous() for k, v in expected.items()}, output / "expected.safetensors", metadata=metadata)
    case = {
        "case": "lora_llava",
        "what": "adapters of real PEFT on the tiny LLaVA of the case llava: logits, loss, gradients, merged and reloaded logits",
        "checkpoint": "../llava", "versions": metadata, "observed": notes,
        "loss": "HF causal LM loss over the last 8 ids, mean",
        "tolerance": {"logits_abs": 2e-4, "loss_abs": 2e-5, "grad_rel_l2": 1e-3},
        "tensors": {k: [str(v.dtype).removeprefix("torch."), list(v.shape)] for k, v in sorted(expected.items())},
    }
    (output / "case.json").write_text(json.dumps(case, indent=1))
    print(json.dumps(notes, indent=1))


main()
