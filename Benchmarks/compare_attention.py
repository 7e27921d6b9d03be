"""Attention statistics side by side: mmprobe against transformers, same weights, inputs and threads.

For each length and mode: outputs are compared first and must agree; then two pairs to warm up and ten that count, ours
and theirs in turn, whose order alternates; the peak of memory is that of all these passes. Only the forward pass is
timed, in the process that does it. The ratio is that of the medians, with a bootstrap interval over pairs.

Both sides stay in memory between passes. Ours always takes the group shares of every layer, head and row; theirs does so in the eager modes.
"""

import argparse
import contextlib
import csv
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import threading
import time

import numpy
import safetensors.numpy

HERE = pathlib.Path(__file__).resolve().parent
WARM_UPS = 2
# Differences that two orders of float32 sums can make over a few layers.
SHARE_TOLERANCE = 1e-5
LOGIT_TOLERANCE = 1e-4


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, help="folder written by make_llama.py or make_checkpoint.py")
    parser.add_argument("--mmprobe", type=pathlib.Path, default=HERE.parent / ".build/release/mmprobe")
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 4096])
    parser.add_argument("--modes", nargs="+", default=["eager-hooks", "eager-keep", "sdpa"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument(
        "--settle", action="store_true",
        help="an untimed pass before each timed one: on some virtual machines a process's first pass after another's is slow")
    parser.add_argument("--logits", choices=["last", "all"], default="last")
    parser.add_argument("--results", type=pathlib.Path, default=HERE / "results")
    parser.add_argument("--name", default="attention", help="names the files of the results")
    return parser.parse_args()


class MemoryWatch:
    """The peak of a process's anonymous resident memory, looked at every 20 ms."""

    def __init__(self, process):
        self.path = f"/proc/{process.pid}/status"
        self.peak = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.stopped.wait(0.02):
            with contextlib.suppress(OSError, ProcessLookupError):
                for line in open(self.path):
                    if line.startswith("RssAnon:"):
                        self.peak = max(self.peak, int(line.split()[1]) * 1024)

    def stop(self):
        self.stopped.set()
        self.thread.join()
        return self.peak


class LineProcess:
    """A program that waits for commands on its standard input and answers each with one line of JSON."""

    def __init__(self, command, environment=None):
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args[0]} ended with {self.process.wait()}")
        return json.loads(line)

    def ask(self, command="run"):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.stdout.read()
        self.process.wait()


class PeerProcess(LineProcess):
    """The other side, which first tells the memory it has taken."""

    def __init__(self, command, threads):
        super().__init__(command, os.environ | {"OMP_NUM_THREADS": str(threads), "TRANSFORMERS_VERBOSITY": "error"})
        self.base_memory = self.answer()["memory"]


def start_peer(options, mode, tokens):
    """transformers with one model and one input."""
    return PeerProcess(
        [sys.executable, HERE / "peer_attention.py", options.model, "--inputs", inputs_path(options, tokens),
         "--mode", mode, "--threads", options.threads, "--logits", options.logits], options.threads)


def inputs_path(options, tokens):
    return options.model / f"inputs-{tokens}.safetensors"


def start_ours(options, tokens, repeats=1, output=None):
    command = [
        options.mmprobe, "bench-forward", options.model, "--inputs", inputs_path(options, tokens), "--statistics",
        "--logits", options.logits, "--threads", options.threads, "--warmup", 0, "--repeat", repeats, "--json"]
    if output:
        command += ["-o", output]
    return subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)


def start_interactive(options, tokens):
    """mmprobe with one model and one input; a pass is run for every line it is sent."""
    return LineProcess([
        options.mmprobe, "bench-forward", options.model, "--inputs", inputs_path(options, tokens), "--statistics",
        "--logits", options.logits, "--threads", options.threads, "--warmup", 0, "--interactive"])


def run_ours(options, tokens, repeats=1, output=None):
    process = start_ours(options, tokens, repeats, output)
    text, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"mmprobe ended with {process.returncode}")
    return json.loads(text)


def compare_outputs(options, mode, tokens, peer):
    """Largest differences of logits and shares; raises where they are beyond the tolerances or something is missing."""
    with tempfile.TemporaryDirectory() as folder:
        run_ours(options, tokens, output=f"{folder}/ours.safetensors")
        peer.ask("run")
        peer.ask(f"save {folder}/theirs.safetensors")
        ours = safetensors.numpy.load_file(f"{folder}/ours.safetensors")
        theirs = safetensors.numpy.load_file(f"{folder}/theirs.safetensors")
    settings = json.loads((options.model / "config.json").read_text())
    layers = settings.get("text_config", settings)["num_hidden_layers"]
    expected = {"logits"} | (set() if mode.startswith("sdpa") else {f"shares.{layer}" for layer in range(layers)})
    if not (expected == set(theirs) and expected <= set(ours)):
        raise RuntimeError(f"tensors {sorted(ours)} and {sorted(theirs)}, expected {sorted(expected)}")
    worst = {"logits": 0.0, "shares": 0.0 if mode.startswith("eager") else float("nan")}
    for name in expected:
        if ours[name].shape != theirs[name].shape:
            raise RuntimeError(f"{name}: shapes {ours[name].shape} and {theirs[name].shape}")
        difference = float(numpy.abs(ours[name] - theirs[name]).max())
        kind, tolerance = ("logits", LOGIT_TOLERANCE) if name == "logits" else ("shares", SHARE_TOLERANCE)
        # Theirs in bfloat16 are other numbers; how far off is reported.
        if not difference <= tolerance and mode != "sdpa-bf16":
            raise RuntimeError(f"{name}: differs by {difference}, allowed are {tolerance}")
        worst[kind] = max(worst[kind], difference)
    return worst


def read_weights(options):
    """Reads the weight files: a virtual machine may have given away the pages of whoever was idle."""
    for path in sorted(options.model.glob("*.safetensors")):
        with open(path, "rb", buffering=0) as file:
            while file.read(1 << 24):
                pass


def measure_pairs(options, mode, tokens, peer):
    """Seconds of both sides for each pair, and the peaks of their anonymous memory over all passes.

    Ours maps its weights from the file, so all of it counts; of theirs, what was there before the first pass does not.
    Before a pass either side's weights are read once.
    """
    pairs = []
    ours = start_interactive(options, tokens)
    watches = [MemoryWatch(ours.process), MemoryWatch(peer.process)]
    for index in range(options.pairs + WARM_UPS):
        seconds = {}
        for side in ["ours", "theirs"] if index % 2 == 0 else ["theirs", "ours"]:
            # A pause lets the other side's waiting threads fall asleep.
            time.sleep(0.5)
            if side == "ours":
                read_weights(options)
            else:
                peer.ask("touch")
            for _ in range(2 if options.settle else 1):
                seconds[side] = (ours if side == "ours" else peer).ask("run")["seconds"]
        if index >= WARM_UPS:
            pairs.append((seconds["ours"], seconds["theirs"]))
            print(f"  pair {len(pairs)}: {seconds['ours']:.3f} s, {seconds['theirs']:.3f} s", flush=True)
    peaks = [watch.stop() for watch in watches]
    ours.close()
    return numpy.array(pairs), *peaks


def ratio_interval(pairs, draws=10_000):
    generator = numpy.random.default_rng(0)
    chosen = generator.integers(0, len(pairs), size=(draws, len(pairs)))
    medians = numpy.median(pairs[chosen], axis=1)
    return [float(value) for value in numpy.quantile(medians[:, 0] / medians[:, 1], [0.025, 0.975])]


def processor_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def append_rows(path, header, rows):
    is_new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(header)
        writer.writerows(rows)


def main():
    options = parse_arguments()
    options.results.mkdir(parents=True, exist_ok=True)
    times_path = options.results / f"{options.name}-times.csv"
    memory_path = options.results / f"{options.name}-memory.csv"
    summary_path = options.results / f"{options.name}-summary.csv"
    for path in (times_path, memory_path, summary_path):
        path.unlink(missing_ok=True)
    for tokens in options.tokens:
        for mode in options.modes:
            print(f"{tokens} tokens, {mode}", flush=True)
            peer = start_peer(options, mode, tokens)
            worst = compare_outputs(options, mode, tokens, peer)
            pairs, ours_memory, theirs_memory = measure_pairs(options, mode, tokens, peer)
            base = peer.base_memory
            peer.close()
            ratio = float(numpy.median(pairs[:, 0]) / numpy.median(pairs[:, 1]))
            low, high = ratio_interval(pairs)
            memory_ratio = ours_memory / max(1, theirs_memory - base)
            label = [mode, tokens, options.threads, options.logits]
            append_rows(
                times_path, ["mode", "tokens", "threads", "logits", "pair", "ours_seconds", "theirs_seconds"],
                [[*label, index, f"{a:.6f}", f"{b:.6f}"] for index, (a, b) in enumerate(pairs)])
            append_rows(
                memory_path,
                ["mode", "tokens", "threads", "logits", "ours_peak_bytes", "theirs_before_bytes", "theirs_peak_bytes"],
                [[*label, ours_memory, base, theirs_memory]])
            append_rows(
                summary_path,
                ["mode", "tokens", "threads", "logits", "time_ratio", "low", "high", "memory_ratio",
                 "largest_logit_difference", "largest_share_difference", "processor"],
                [[*label, f"{ratio:.4f}", f"{low:.4f}", f"{high:.4f}", f"{memory_ratio:.4f}",
                  f"{worst['logits']:.2e}", "" if mode.startswith("sdpa") else f"{worst['shares']:.2e}",
                  processor_name()]])
            print(
                f"  time ratio {ratio:.3f} [{low:.3f}, {high:.3f}], memory {ours_memory / 1e6:.0f} MB against "
                f"{(theirs_memory - base) / 1e6:.0f} MB, ratio {memory_ratio:.3f}; logits differ by at most "
                f"{worst['logits']:.1e}, shares by {worst['shares']:.1e}", flush=True)


if __name__ == "__main__":
    main()
