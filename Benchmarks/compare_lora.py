"""LoRA training steps side by side: mmprobe against PEFT, same weights, adapter, batch, threads and optimizer.

Three parts, which --parts can run one by one. `outputs`: the first gradients of every matrix of the adapter and the
losses of the first steps are compared and must agree. `times`: at least ten pairs of steps, ours and theirs in turn,
whose order alternates, after two warm-ups each; both processes stay in memory, and neither checkpoints activations;
then a few steps of ours that do. `memory`: a run of each. A step is loss, gradients and AdamW update. The ratio is that
of the medians, with a bootstrap interval over pairs.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy
from safetensors.numpy import load_file, save_file

from compare_attention import HERE, LineProcess, MemoryWatch, PeerProcess, append_rows, processor_name, ratio_interval

WARM_UPS = 2
COMPARED_STEPS = 3
LOSS_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-3
CHECKPOINTED_STEPS = 3


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, help="folder written by make_llama.py")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--mmprobe", type=pathlib.Path, default=HERE.parent / ".build/release/mmprobe")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument(
        "--settle", action="store_true",
        help="an untimed step before each timed one: on some virtual machines a process's first step after another's is slow")
    parser.add_argument("--parts", nargs="+", choices=["outputs", "times", "memory"], default=["outputs", "times", "memory"])
    parser.add_argument("--results", type=pathlib.Path, default=HERE / "results")
    return parser.parse_args()


def start_ours(options, adapter, inputs, *more):
    """mmprobe with the model; a step is done for every line it is sent, after the warm-ups."""
    return LineProcess([
        options.mmprobe, "bench-train", "--checkpoint", options.model, "--adapter", adapter, "--inputs", inputs,
        "--threads", options.threads, "--warmup", WARM_UPS, "--interactive", *more])


def start_peer(options, adapter, inputs):
    return PeerProcess(
        [sys.executable, HERE / "peer_lora.py", options.model, "--adapter", adapter, "--inputs", inputs, "--threads",
         options.threads], options.threads)


def compare_outputs(options, adapter, inputs, folder):
    """The largest relative difference of a loss, and of a gradient against the largest element of its matrix."""
    command = [
        options.mmprobe, "bench-train", "--checkpoint", options.model, "--adapter", adapter, "--inputs", inputs,
        "--threads", options.threads, "--warmup", 0, "--repeat", COMPARED_STEPS, "--gradients", f"{folder}/ours",
        "--json"]
    text = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=True).stdout
    ours = json.loads(text)["losses"]
    peer = start_peer(options, adapter, inputs)
    peer.ask(f"gradients {folder}/theirs")
    theirs = [peer.ask("run")["loss"] for _ in range(COMPARED_STEPS)]
    peer.close()
    loss = max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))
    found, expected = load_file(f"{folder}/ours"), load_file(f"{folder}/theirs")
    if found.keys() != expected.keys():
        raise RuntimeError(f"gradients of other matrices: {sorted(found.keys() ^ expected.keys())[:4]}")
    gradient = 0.0
    for name, value in expected.items():
        if not abs(value).max() > 0:
            raise RuntimeError(f"the gradient of {name} is zero, so nothing was compared")
        gradient = max(gradient, float(abs(found[name] - value).max() / abs(value).max()))
    if not (loss <= LOSS_TOLERANCE and gradient <= GRADIENT_TOLERANCE):
        raise RuntimeError(f"losses {ours} and {theirs}, gradients differ by {gradient:.1e}")
    return loss, gradient, len(expected)


def memory(process, step, steps):
    watch = MemoryWatch(process)
    for _ in range(steps):
        step()
    return watch.stop()


def compare_times(options, adapter, inputs):
    """Seconds of pairs of steps, ours and theirs, and of steps of ours with checkpointing."""
    ours, peer = start_ours(options, adapter, inputs), start_peer(options, adapter, inputs)
    for _ in range(WARM_UPS):
        peer.ask("run")
    # The first answer comes after the warm-ups, so that these do not run beside a timed step.
    ours.ask()
    pairs = []
    for index in range(max(10, options.pairs)):
        seconds = {}
        for side in ["ours", "theirs"] if index % 2 == 0 else ["theirs", "ours"]:
            # A pause lets the other side's waiting threads fall asleep.
            time.sleep(0.5)
            for _ in range(2 if options.settle else 1):
                seconds[side] = (ours.ask() if side == "ours" else peer.ask("run"))["seconds"]
        pairs.append((seconds["ours"], seconds["theirs"]))
        print(f"  pair {len(pairs)}: {pairs[-1][0]:.4f} s, {pairs[-1][1]:.4f} s", flush=True)
    ours.close()
    peer.close()
    again = start_ours(options, adapter, inputs, "--activation-checkpointing")
    checkpointed = [again.ask()["seconds"] for _ in range(CHECKPOINTED_STEPS)]
    again.close()
    return numpy.array(pairs), checkpointed


def compare_memory(options, adapter, inputs):
    """Peaks of ours, of ours with checkpointing and of theirs, and what theirs was before the first step."""
    peaks = []
    for more in [[], ["--activation-checkpointing"]]:
        ours = start_ours(options, adapter, inputs, *more)
        peaks.append(memory(ours.process, ours.ask, 1))
        ours.close()
    peer = start_peer(options, adapter, inputs)
    theirs = memory(peer.process, lambda: peer.ask("run"), WARM_UPS + 1)
    base = peer.base_memory
    peer.close()
    return *peaks, base, theirs


def main():
    options = parse_arguments()
    options.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        adapter, inputs = f"{folder}/adapter", f"{folder}/inputs.safetensors"
        exported = subprocess.run(
            [sys.executable, str(HERE / "peer_lora.py"), str(options.model), "--adapter", adapter, "--export"],
            stdout=subprocess.PIPE, text=True, check=True)
        counts = json.loads(exported.stdout.splitlines()[-1])
        vocabulary = json.loads((options.model / "config.json").read_text())["vocab_size"]
        ids = numpy.random.default_rng(1).integers(3, vocabulary, (options.batch, options.length))
        save_file({"input_ids": ids.astype(numpy.int64)}, inputs)
        print(f"{counts['parameters']:,} parameters, {counts['trained']:,} of LoRA", flush=True)
        names = ["parameters", "batch", "length", "threads"]
        label = [counts["parameters"], options.batch, options.length, options.threads]

        def append(kind, header, rows):
            append_rows(options.results / f"lora-{kind}.csv", [*names, *header], [[*label, *row] for row in rows])

        if "outputs" in options.parts:
            loss, gradient, matrices = compare_outputs(options, adapter, inputs, folder)
            append("outputs", ["matrices", "largest_relative_loss_difference", "largest_relative_gradient_difference"],
                   [[matrices, f"{loss:.2e}", f"{gradient:.2e}"]])
            print(
                f"losses of {COMPARED_STEPS} steps differ by at most {loss:.1e}, gradients of {matrices} matrices by "
                f"{gradient:.1e} of their largest element", flush=True)
        if "times" in options.parts:
            pairs, checkpointed = compare_times(options, adapter, inputs)
            ratio = float(numpy.median(pairs[:, 0]) / numpy.median(pairs[:, 1]))
            low, high = ratio_interval(pairs)
            append("times", ["pair", "ours_seconds", "theirs_seconds"],
                   [[index, f"{a:.6f}", f"{b:.6f}"] for index, (a, b) in enumerate(pairs)])
            append("checkpointed-times", ["step", "ours_seconds"],
                   [[index, f"{value:.6f}"] for index, value in enumerate(checkpointed)])
            append("summary", ["time_ratio", "low", "high", "checkpointed_median_seconds", "processor"],
                   [[f"{ratio:.4f}", f"{low:.4f}", f"{high:.4f}", f"{numpy.median(checkpointed):.4f}", processor_name()]])
            print(
                f"medians {numpy.median(pairs[:, 0]):.3f} s and {numpy.median(pairs[:, 1]):.3f} s, time ratio "
                f"{ratio:.3f} [{low:.3f}, {high:.3f}]; ours with checkpointing {numpy.median(checkpointed):.3f} s",
                flush=True)
        if "memory" in options.parts:
            ours, again, base, theirs = compare_memory(options, adapter, inputs)
            append("memory",
                   ["ours_peak_bytes", "ours_checkpointed_peak_bytes", "theirs_before_bytes", "theirs_peak_bytes"],
                   [[ours, again, base, theirs]])
            print(
                f"memory {ours / 1e6:.0f} MB, with checkpointing {again / 1e6:.0f} MB, against {theirs / 1e6:.0f} MB in "
                f"all, {(theirs - base) / 1e6:.0f} MB above the start: ratios {ours / (theirs - base):.3f} and "
                f"{again / (theirs - base):.3f}", flush=True)


if __name__ == "__main__":
    main()
