"""Training steps side by side: mmprobe against PyTorch, same weights, batch, threads and optimizer.

For each model: the losses of the first steps are compared and must agree; then at least ten pairs of steps, ours and
theirs in turn, whose order alternates, each after two warm-ups in its process; then one run of each for memory. A step
is loss, gradients and AdamW update. The ratio is that of the medians, with a bootstrap interval over pairs.
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

from compare_attention import HERE, MemoryWatch, PeerProcess, append_rows, processor_name, ratio_interval

COMPARED_STEPS = 5
LOSS_TOLERANCE = 1e-3
WARM_UPS = 2


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["decoder", "encoders", "towers"],
                        help="decoder, encoders, towers or resnets")
    parser.add_argument("--mmprobe", type=pathlib.Path, default=HERE.parent / ".build/release/mmprobe")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--settle", action="store_true", help="an untimed step of theirs before each timed one; ours has two")
    parser.add_argument("--channels-last", action="store_true", help="PyTorch keeps channels of the ResNets innermost")
    parser.add_argument("--results", type=pathlib.Path, default=HERE / "results")
    return parser.parse_args()


def start_peer(options, model):
    """PyTorch with one model."""
    layout = ["--channels-last"] if options.channels_last else []
    return PeerProcess(
        [sys.executable, HERE / "peer_training.py", model, "--threads", options.threads, *layout], options.threads)


def start_ours(options, model, path, repeats):
    command = [
        options.mmprobe, "bench-train", "--model", model, "--inputs", path, "--threads", options.threads, "--warmup", WARM_UPS,
        "--repeat", repeats, "--json"]
    return subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)


def run_ours(options, model, path, repeats=1):
    process = start_ours(options, model, path, repeats)
    text, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"mmprobe ended with {process.returncode}")
    return json.loads(text)


def compare_losses(options, model, path):
    ours = run_ours(options, model, path, COMPARED_STEPS - WARM_UPS)["losses"]
    peer = start_peer(options, model)
    theirs = [peer.ask("run")["loss"] for _ in range(COMPARED_STEPS)]
    peer.close()
    if len(ours) != COMPARED_STEPS:
        raise RuntimeError(f"{len(ours)} losses, expected {COMPARED_STEPS}")
    # Of the first loss: later ones come close to 0, and their own share then says how nearly the batch is learnt by heart.
    worst = max(abs(a - b) for a, b in zip(ours, theirs)) / abs(theirs[0])
    if not worst <= LOSS_TOLERANCE:
        raise RuntimeError(f"losses {ours} and {theirs}")
    return worst


def main():
    options = parse_arguments()
    options.results.mkdir(parents=True, exist_ok=True)
    # The large networks have files of their own, so that neither run replaces the results of the other.
    stem = "resnets" if options.models == ["resnets"] else "training"
    stem += "-channels-last" if options.channels_last else ""
    paths = {kind: options.results / f"{stem}-{kind}.csv" for kind in ("times", "memory", "summary")}
    for path in paths.values():
        path.unlink(missing_ok=True)
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/{model}.safetensors"
            subprocess.run(
                [sys.executable, str(HERE / "peer_training.py"), model, "--threads", "1", "--export", path], check=True)
            worst = compare_losses(options, model, path)
            peer = start_peer(options, model)
            for _ in range(WARM_UPS):
                peer.ask("run")
            pairs = []
            for index in range(max(10, options.pairs)):
                seconds = {}
                for side in ["ours", "theirs"] if index % 2 == 0 else ["theirs", "ours"]:
                    # A pause lets the other side's waiting threads fall asleep.
                    time.sleep(0.5)
                    if options.settle and side == "theirs":
                        peer.ask("run")
                    seconds[side] = (
                        run_ours(options, model, path)["seconds"][0] if side == "ours" else peer.ask("run")["seconds"])
                pairs.append((seconds["ours"], seconds["theirs"]))
                print(f"  {model} pair {len(pairs)}: {pairs[-1][0]:.4f} s, {pairs[-1][1]:.4f} s", flush=True)
            peer.close()
            pairs = numpy.array(pairs)
            process = start_ours(options, model, path, 3)
            watch = MemoryWatch(process)
            process.communicate()
            ours_peak = watch.stop()
            peer = start_peer(options, model)
            watch = MemoryWatch(peer.process)
            for _ in range(WARM_UPS + 3):
                peer.ask("run")
            theirs_peak = watch.stop()
            base = peer.base_memory
            peer.close()
        ratio = float(numpy.median(pairs[:, 0]) / numpy.median(pairs[:, 1]))
        low, high = ratio_interval(pairs)
        label = [model + ("-channels-last" if options.channels_last else ""), options.threads]
        append_rows(
            paths["times"], ["model", "threads", "pair", "ours_seconds", "theirs_seconds"],
            [[*label, index, f"{a:.6f}", f"{b:.6f}"] for index, (a, b) in enumerate(pairs)])
        append_rows(
            paths["memory"], ["model", "threads", "ours_peak_bytes", "theirs_before_bytes", "theirs_peak_bytes"],
            [[*label, ours_peak, base, theirs_peak]])
        append_rows(
            paths["summary"],
            ["model", "threads", "time_ratio", "low", "high", "memory_ratio", "largest_relative_loss_difference",
             "processor"],
            [[*label, f"{ratio:.4f}", f"{low:.4f}", f"{high:.4f}", f"{ours_peak / max(1, theirs_peak):.4f}",
              f"{worst:.2e}", processor_name()]])
        print(
            f"{model}: time ratio {ratio:.3f} [{low:.3f}, {high:.3f}], memory {ours_peak / 1e6:.0f} MB against "
            f"{theirs_peak / 1e6:.0f} MB in all ({(theirs_peak - base) / 1e6:.0f} MB above the start); losses of "
            f"{COMPARED_STEPS} steps differ by at most {worst:.1e}", flush=True)


if __name__ == "__main__":
    main()
