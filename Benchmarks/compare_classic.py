"""The classic benchmark side by side: joint training of AVDigits against PyTorch, and what methods and the loop cost.

    python compare_classic.py peer       the small network of AVDigits: mmprobe bench run against peer_classic.py
    python compare_classic.py methods    methods against joint training, and the loop's own part of a step

`peer`: both sides train the same epoch first and must end it with the same loss; then ten pairs of runs in turn, whose order
alternates. Ours is a run of `mmprobe bench run` with everything that belongs to it; the time is that of its steps by its own
clock (batch, forward, gradients, method, update, and what the loop does between steps), without evaluations and saving. Theirs are
as many steps of a process that stays in memory, after an epoch that is not timed.

`methods`: each method in turn with joint training, ten pairs; the time of a step with all that the method does in and between
steps. The ratio is that of the medians with a bootstrap interval over pairs.
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

from compare_attention import HERE, LineProcess, append_rows, processor_name, ratio_interval

LOSS_TOLERANCE = 1e-4


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["peer", "methods"])
    parser.add_argument("--methods", nargs="+", default=["ogm", "opm", "mmcosine", "agm", "mmpareto", "modality-valuation"])
    parser.add_argument("--mmprobe", type=pathlib.Path, default=HERE.parent / ".build/release/mmprobe")
    parser.add_argument("--data", type=pathlib.Path, default=HERE.parent / "datasets/avdigits")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=2, help="of a run, 18 steps each")
    parser.add_argument("--results", type=pathlib.Path, default=HERE / "results")
    return parser.parse_args()


class Ours:
    """Runs of one method, each in a folder of its own."""

    # Those that begin to act after some epochs act from the first one here.
    OPTIONS = {"opm": {"warmup_epochs": 0, "execution_share": 1}, "modality-valuation": {"warmup_epochs": 0}}

    def __init__(self, options, folder):
        self.options, self.folder, self.count = options, pathlib.Path(folder), 0

    def run(self, method, epochs):
        self.count += 1
        path = self.folder / f"{self.count}.json"
        path.write_text(json.dumps({
            "data": str(self.options.data.resolve()), "modalities": ["image", "audio"], "seeds": 1,
            "training": {"epochs": epochs, "batch_size": 64, "selection": "last"},
            "methods": [{"id": method, **self.OPTIONS.get(method, {})}]}))
        run = self.folder / f"run{self.count}"
        subprocess.run(
            [str(self.options.mmprobe), "bench", "run", str(path), "-o", str(run), "--threads", str(self.options.threads), "-q"],
            check=True, stdout=subprocess.DEVNULL)
        place = run / "runs" / f"{method}-seed0"
        cost = json.loads((place / "run.json").read_text())["cost"]
        losses = [json.loads(line) for line in (place / "log.jsonl").read_text().splitlines()]
        return cost, [line["loss"] for line in losses if "loss" in line]


def measure(sides, pairs, name):
    """Seconds of a step of each side, in turn."""
    found = []
    for index in range(max(10, pairs)):
        seconds = {}
        for side in [0, 1] if index % 2 == 0 else [1, 0]:
            time.sleep(0.3)
            seconds[side] = sides[side]()
        found.append([seconds[0], seconds[1]])
        print(f"  {name} pair {len(found)}: {1e3 * seconds[0]:.2f} ms, {1e3 * seconds[1]:.2f} ms", flush=True)
    found = numpy.array(found)
    return found, float(numpy.median(found[:, 0]) / numpy.median(found[:, 1])), ratio_interval(found)


def write(options, stem, header, times, summary):
    options.results.mkdir(parents=True, exist_ok=True)
    for kind, (names, rows) in {"times": (header, times), "summary": (summary[0], summary[1])}.items():
        path = options.results / f"{stem}-{kind}.csv"
        path.unlink(missing_ok=True)
        append_rows(path, names, rows)


def compare_with_peer(options, ours):
    # A process of its own for each count of threads, as PyTorch cannot go back.
    peer = LineProcess(
        [sys.executable, HERE / "peer_classic.py", options.data, "--threads", options.threads],
        os.environ | {"OMP_NUM_THREADS": str(options.threads)})
    peer.answer()
    steps = 1157 // 64
    ask = lambda: peer.ask(f"run {steps}")
    # The loss that is logged is the mean over the epoch.
    (_, own), other = ours.run("joint", 1), ask()["loss"]
    worst = abs(own[-1] - other) / abs(other)
    if not worst <= LOSS_TOLERANCE:
        raise RuntimeError(f"losses {own[-1]} and {other}")

    def own_step():
        cost, _ = ours.run("joint", options.epochs)
        return (cost["step_s"] + cost["loop_s"]) / cost["steps"]

    def peer_step():
        ask()
        return float(numpy.mean(peer.ask(f"run {steps * options.epochs}")["seconds"]))

    pairs, ratio, (low, high) = measure([own_step, peer_step], options.pairs, "avdigits")
    peer.close()
    write(
        options, "classic-peer", ["model", "threads", "pair", "ours_seconds", "theirs_seconds"],
        [["avdigits", options.threads, index, f"{a:.6f}", f"{b:.6f}"] for index, (a, b) in enumerate(pairs)],
        (["model", "threads", "time_ratio", "low", "high", "relative_loss_difference", "processor"],
         [["avdigits", options.threads, f"{ratio:.4f}", f"{low:.4f}", f"{high:.4f}", f"{worst:.2e}", processor_name()]]))
    print(f"avdigits: time ratio {ratio:.3f} [{low:.3f}, {high:.3f}]; the loss after an epoch differs by {worst:.1e}")


def compare_methods(options, ours):
    times, rows = [], []
    shares = []

    def step(method):
        cost, _ = ours.run(method, options.epochs)
        shares.append(cost["loop_s"] / cost["step_s"])
        return (cost["step_s"] + cost["loop_s"]) / cost["steps"]

    for method in options.methods:
        pairs, ratio, (low, high) = measure([lambda: step(method), lambda: step("joint")], options.pairs, method)
        times += [[method, options.threads, index, f"{a:.6f}", f"{b:.6f}"] for index, (a, b) in enumerate(pairs)]
        rows.append([method, options.threads, f"{ratio:.4f}", f"{low:.4f}", f"{high:.4f}", processor_name()])
        print(f"{method}: {ratio:.3f} [{low:.3f}, {high:.3f}] times joint", flush=True)
    loop = float(numpy.median(shares))
    rows.append(["loop", options.threads, f"{loop:.4f}", f"{min(shares):.4f}", f"{max(shares):.4f}", processor_name()])
    print(f"the loop adds {100 * loop:.2f} % of the time of steps (from {100 * min(shares):.2f} to {100 * max(shares):.2f} %)")
    write(options, "classic-methods", ["method", "threads", "pair", "method_seconds", "joint_seconds"], times,
          (["method", "threads", "ratio", "low", "high", "processor"], rows))


def main():
    options = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(options, folder)
        (compare_with_peer if options.what == "peer" else compare_methods)(options, ours)


if __name__ == "__main__":
    main()
