"""Checks that other programs read what mmprobe writes: PEFT, TensorBoard, numpy and safetensors.

    python interop.py MMPROBE MODEL

MODEL is the folder of the model that comes with mmprobe, with its data. Prints a line for every check; ends with
status 1 if one fails. Needs the packages of interop-requirements.txt.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import interop_peft

HERE = pathlib.Path(__file__).resolve().parent
STEPS = 6


class Checks:
    """Counts failures; an exception in a check is one."""

    def __init__(self):
        self.failures = 0

    def run(self, name, check):
        try:
            text, is_good = check(), True
        except Exception as error:
            text, is_good = f"{type(error).__name__}: {error}", False
        self.failures += not is_good
        print(f"{'ok    ' if is_good else 'FAILED'}  {name}: {text}", flush=True)


def demand(condition, message):
    if not condition:
        raise RuntimeError(message)


def run(program, *words):
    subprocess.run([str(word) for word in (program, *words)], check=True, stdout=subprocess.DEVNULL)


def check_peft(program, folder):
    def check():
        worst, cases = 0.0, 0
        for case, difference, effect in interop_peft.differences(program, folder):
            demand(effect >= interop_peft.LEAST_EFFECT, f"{case}: the adapter has no effect")
            demand(difference <= interop_peft.LIMIT, f"{case}: logits differ by {difference:.1e}")
            worst, cases = max(worst, difference), cases + 1
        return f"loads {cases} adapters of finetune; logits differ by at most {worst:.1e}"

    return check


def check_events(folder):
    def check():
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        events.Reload()
        tags = set(events.Tags()["scalars"])
        found = {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in tags}
        compared = 0
        for text in (folder / "log.jsonl").read_text().splitlines():
            line = json.loads(text)
            values = {f"validation/{key}": value for key, value in line.get("validation", {}).items()}
            for key, value in line.items():
                if key not in ("step", "epoch", "best", "validation"):
                    values[key if "/" in key else f"train/{key}"] = value
            for tag, value in values.items():
                if value is None:
                    continue
                demand(tag in found and line["step"] in found[tag], f"{tag} of step {line['step']} is missing")
                value = float(np.float32(value))
                demand(abs(found[tag][line["step"]] - value) <= 1e-6 * abs(value), f"{tag} of step {line['step']} differs")
                compared += 1
        demand(compared > 10 * STEPS, f"only {compared} values to compare")
        return f"{len(tags)} tags, {compared} values as in log.jsonl"

    return check


def check_archive(folder):
    def check():
        samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
        with np.load(folder / "stats.npz", allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        demand(int(arrays["count"]) == len(samples), f"{arrays['count']} samples, expected {len(samples)}")
        for key in ("share", "entropy"):
            values = np.array([sample[key] for sample in samples], dtype=np.float64)
            for part, expected in [("mean", values.mean(0)), ("min", values.min(0)), ("max", values.max(0)),
                                   ("m2", ((values - values.mean(0)) ** 2).sum(0))]:
                found = arrays[f"{key}.{part}"]
                demand(found.dtype == np.float64 and found.size == expected.size, f"{key}.{part} is {found.shape}")
                demand(np.allclose(found.ravel(), expected, rtol=1e-6, atol=1e-9), f"{key}.{part} differs")
        return f"{len(arrays)} arrays; means, sums of squares and bounds of {len(samples)} samples recomputed"

    return check


def check_state(folder):
    def check():
        state, adapter = load_file(folder / "state.safetensors"), load_file(folder / "last/adapter_model.safetensors")
        demand(len(adapter) > 0, "an empty adapter")
        for name, value in adapter.items():
            own = f"parameter.{name.removeprefix('base_model.model.')}"
            demand(own in state, f"{own} is missing")
            demand(np.array_equal(state[own], value), f"{own} is not {name}")
        with safe_open(folder / "last/adapter_model.safetensors", framework="np") as file:
            demand(file.metadata() == {"format": "pt"}, f"metadata {file.metadata()}")
        return f"{len(state)} tensors of a state, {len(adapter)} of its adapter with the same bytes"

    return check


def check_model(model, folder):
    def check():
        # numpy has no bfloat16.
        before = load_torch(model / "model.safetensors")
        after = load_torch(folder / "last/model.safetensors")
        demand({n: (v.shape, v.dtype) for n, v in before.items()} == {n: (v.shape, v.dtype) for n, v in after.items()},
               "other names, shapes or types")
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        projector = {name for name in before if name.startswith(("image_", "audio_", "modality_"))}
        demand(moved and not moved & projector, "frozen tensors moved, or none did")
        return f"{len(after)} tensors of a trained model; {len(moved)} moved, frozen ones kept their bytes"

    return check


def main():
    program, model = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    checks = Checks()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        data = ["--data", model / "data/train.qa.jsonl", "--validation", model / "data/val.qa.jsonl"]
        steps = ["--steps", STEPS, "--batch", 4, "--log-interval", 1, "--eval-interval", STEPS, "--count", 24, "-q"]
        run(program, "finetune", "lora", model, *data, "-o", folder / "lora", *steps)
        run(program, "finetune", "full", model, *data, "-o", folder / "full", "--freeze", "projector", *steps)
        run(program, "attention", model, "--data", model / "data/test.qa.jsonl", "--count", 12, "-o", folder / "attention",
            "-q")
        checks.run("PEFT", check_peft(program, HERE.parent / "Tests/Fixtures/llava"))
        checks.run("TensorBoard", check_events(folder / "lora"))
        checks.run("numpy", check_archive(folder / "attention"))
        checks.run("safetensors", check_state(folder / "lora"))
        checks.run("safetensors", check_model(model, folder / "full"))
    sys.exit(checks.failures > 0)


if __name__ == "__main__":
    main()
