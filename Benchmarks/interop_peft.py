"""Checks that PEFT loads adapters of mmprobe and gets the logits that mmprobe gets, and the other way round.

    python interop_peft.py MMPROBE [LLAVA_FOLDER]

LLAVA_FOLDER is Tests/Fixtures/llava unless given. Needs torch, transformers, peft, safetensors, numpy. mmprobe trains a
LoRA on a few made-up records; PEFT reads the files it wrote. Ends with status 1 if logits differ by more than 1e-4.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration

LIMIT = 1e-4
# Less would mean that nothing was compared.
LEAST_EFFECT = 0.05
HERE = pathlib.Path(__file__).resolve().parent
CASES = {
    "decoder": [],
    "all linear layers, rsLoRA": ["--targets", "all-linear", "--rslora"],
    "some layers and the projector": ["--targets", "q_proj,up_proj", "--layers", "0,2", "--train", "projector"],
    "biases": ["--bias", "lora_only", "--targets", "fc1,v_proj", "--dropout", "0.1"],
}


def make_data(folder):
    generator = np.random.default_rng(1)
    records = []
    for index in range(6):
        pixels = generator.integers(0, 256, (28, 28, 3), dtype=np.uint8)
        (folder / f"{index}.ppm").write_bytes(b"P6 28 28 255\n" + pixels.tobytes())
        records.append({
            "id": str(index), "image": f"{index}.ppm",
            "conversations": [
                {"from": "human", "value": "<image>\nwhat is it ?"}, {"from": "gpt", "value": f"it is {index}"}],
        })
    (folder / "train.json").write_text(json.dumps(records))


def differences(program, model):
    """For every case its name, how far the logits are apart, and what the adapter changes in them."""
    reference = load_file(model / "expected.safetensors")
    inputs = {"input_ids": reference["single.input_ids"], "pixel_values": reference["pixel_values"][:1].contiguous()}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_data(folder)
        save_file(inputs, folder / "inputs.safetensors")
        for number, (case, options) in enumerate(CASES.items()):
            run = folder / f"run{number}"
            subprocess.run(
                [program, "finetune", "lora", model, "--data", folder / "train.json", "-o", run, "-q", "--lr", "0.02",
                 "--steps", "6", "--batch", "2", *options], check=True, stdout=subprocess.DEVNULL)
            output = folder / "out.safetensors"
            subprocess.run(
                [program, "trace", model, "--adapter", run / "last", "--inputs", folder / "inputs.safetensors",
                 "--capture", "logits", "-o", output, "-q"], check=True, stdout=subprocess.DEVNULL)
            own = load_file(output)["logits"]
            base = LlavaForConditionalGeneration.from_pretrained(
                model, dtype=torch.float32, attn_implementation="eager").eval()
            with torch.no_grad():
                plain = base(**inputs).logits
                theirs = PeftModel.from_pretrained(base, run / "last").eval()(**inputs).logits
            yield case, float((own - theirs).abs().max()), float((theirs - plain).abs().max())


def main():
    model = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else HERE.parent / "Tests/Fixtures/llava"
    worst = 0.0
    for case, difference, effect in differences(sys.argv[1], model):
        worst = max(worst, difference)
        print(f"{case}: logits differ by {difference:.1e}; the adapter changes them by {effect:.2f}")
        if effect < LEAST_EFFECT:
            sys.exit("the adapter has no effect, so nothing was compared")
    print(f"largest difference {worst:.1e}, limit {LIMIT:.0e}")
    sys.exit(worst > LIMIT)


if __name__ == "__main__":
    main()
