"""The classic benchmark side by side: joint training of AVDigits against PyTorch, and what methods and the loop cost.

    python compare_classic.py peer       mmprobe bench run against peer_classic.py: the small network of AVDigits, or with
                                         --model mosei the transformers of CMU-MOSEI (50 steps of 300, 74 and 35 numbers)
    python compare_classic.py methods    methods against joint training, and the loop's own part of a step

`peer`: both sides train the same epoch first and must end it with the same loss; then ten pairs of runs in turn, whose order
alternates. Ours is a run of `mmprobe bench run` with everything that belongs to it; the time is that of its steps by its own
clock (batch, forward, gradients, method, update), for AVDigits with what the loop does between steps and epochs. Theirs are
as many steps of a process that stays in memory, after an epoch that is not timed.

`methods`: each method in turn with joint training, ten pairs; the time of a step with all that the method does in and between
steps. The ratio is that of the medians with a bootstrap interval over pairs.
"""

import argparse
import json
import os
import pathlib
import shutil
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
    parser.add_argument("--model", choices=["avdigits", "mosei"], default="avdigits", help="of peer")
    parser.add_argument("--batch", type=int, default=16, help="of mosei")
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
        self.source = options.data.resolve()
        self.experiment = {"data": str(self.source), "modalities": ["image", "audio"]}
        self.batch = 64

    def start(self):
        """What the peer is told of weights: nothing, it draws the same."""
        return []

    def run(self, method, epochs, rate=0.01, keeps=False):
        self.count += 1
        path = self.folder / f"{self.count}.json"
        path.write_text(json.dumps({
            **self.experiment, "seeds": 1,
            "training": {"epochs": epochs, "batch_size": self.batch, "learning_rate": rate, "selection": "last"},
            "methods": [{"id": method, **self.OPTIONS.get(method, {})}]}))
        run = self.folder / f"run{self.count}"
        subprocess.run(
            [str(self.options.mmprobe), "bench", "run", str(path), "-o", str(run), "--threads", str(self.options.threads), "-q"],
            check=True, stdout=subprocess.DEVNULL)
        place = run / "runs" / f"{method}-seed0"
        cost = json.loads((place / "run.json").read_text())["cost"]
        losses = [json.loads(line) for line in (place / "log.jsonl").read_text().splitlines()]
        if not keeps:
            shutil.rmtree(run)
        return cost, [line["loss"] for line in losses if "loss" in line]


class Sequences(Ours):
    """The transformers of CMU-MOSEI on random sequences of its shapes, one batch an epoch."""

    SIZES = {"text": 300, "audio": 74, "vision": 35}

    def __init__(self, options, folder):
        super().__init__(options, folder)
        self.source, self.batch = self.folder / "sequences", options.batch
        self.source.mkdir()
        generator = numpy.random.default_rng(0)
        for split, count in {"train": self.batch, "valid": 4, "test": 4}.items():
            arrays = {
                name: generator.normal(size=(count, 50, size)).astype(numpy.float32) for name, size in self.SIZES.items()}
            numpy.savez(self.source / f"{split}.npz", labels=generator.normal(size=count).astype(numpy.float32), **arrays)
        packed = self.folder / "packed"
        subprocess.run(
            [str(options.mmprobe), "data", "pack", "mosei", str(self.source), "-o", str(packed), "-q"], check=True,
            stdout=subprocess.DEVNULL)
        self.experiment = {
            "data": str(packed), "modalities": ["audio", "vision", "text"],
            "encoders": {name: {"type": "transformer", "dropout": 0} for name in self.SIZES}}

    def start(self):
        """The weights of a run that hardly moved them, as those of no run are written."""
        self.run("joint", 1, rate=1e-9, keeps=True)
        return ["--weights", self.folder / f"run{self.count}" / "runs/joint-seed0/last/parameters.safetensors"]


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
    steps = options.steps_of_epoch
    peer = LineProcess(
        [sys.executable, HERE / "peer_classic.py", ours.source, "--threads", options.threads, *ours.start()],
        os.environ | {"OMP_NUM_THREADS": str(options.threads)})
    peer.answer()
    # The loss that is logged is the mean over the epoch.
    (_, own), other = ours.run("joint", 1), peer.ask(f"run {steps}")["loss"]
    worst = abs(own[-1] - other) / abs(other)
    if not worst <= LOSS_TOLERANCE:
        raise RuntimeError(f"losses {own[-1]} and {other}")

    def own_step():
        cost, _ = ours.run("joint", options.epochs)
        return (cost["step_s"] + cost["loop_s"] * (options.model == "avdigits")) / cost["steps"]

    def peer_step():
        peer.ask(f"run {steps}")
        return float(numpy.mean(peer.ask(f"run {steps * options.epochs}")["seconds"]))

    pairs, ratio, (low, high) = measure([own_step, peer_step], options.pairs, options.model)
    peer.close()
    stem = "classic-peer" if options.model == "avdigits" else f"classic-peer-{options.model}"
    write(
        options, stem, ["model", "threads", "pair", "ours_seconds", "theirs_seconds"],
        [[options.model, options.threads, index, f"{a:.6f}", f"{b:.6f}"] for index, (a, b) in enumerate(pairs)],
        (["model", "threads", "time_ratio", "low", "high", "relative_loss_difference", "processor"],
         [[options.model, options.threads, f"{ratio:.4f}", f"{low:.4f}", f"{high:.4f}", f"{worst:.2e}", processor_name()]]))
    print(f"{options.model}: time ratio {ratio:.3f} [{low:.3f}, {high:.3f}]; the loss after an epoch differs by {worst:.1e}")


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
    options.steps_of_epoch = 1157 // 64 if options.model == "avdigits" else 1
    with tempfile.TemporaryDirectory() as folder:
        ours = (Ours if options.model == "avdigits" else Sequences)(options, folder)
        (compare_with_peer if options.what == "peer" else compare_methods)(options, ours)


if __name__ == "__main__":
    main()
