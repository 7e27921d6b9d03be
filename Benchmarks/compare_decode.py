"""Decoding side by side: mmprobe, transformers and llama.cpp, same weights, prompt and threads, in bfloat16 where stored.

    compare_decode.py FOLDER --gguf FILE       FOLDER is written by make_llama.py --dtype bfloat16

Greedy tokens after a prompt, one sequence. mmprobe reads bfloat16 weights and computes in float32; transformers runs in
bfloat16 and in float32; llama.cpp, if its Python package is there, on a GGUF file of the same weights in bfloat16, which
is written first. The tokens of mmprobe and of transformers in float32 must be the same; llama.cpp's first token too.
Rounds alternate in order, the first of two runs in a row is not counted; the figure is the median over rounds of the
median token.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from compare_attention import HERE, LineProcess, append_rows, processor_name


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--gguf", type=pathlib.Path, help="where the weights are written for llama.cpp; none leaves it out")
    parser.add_argument("--llama-python", default=sys.executable, help="a Python that has llama_cpp and gguf")
    parser.add_argument("--mmprobe", type=pathlib.Path, default=HERE.parent / ".build/release/mmprobe")
    parser.add_argument("--tokens", type=int, default=640, help="length of the prompt")
    parser.add_argument("--steps", type=int, default=17)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--results", type=pathlib.Path, default=HERE / "results")
    return parser.parse_args()


def start_peer(python, engine, options, path):
    """A process of peer_decode.py."""
    return LineProcess(
        [python, HERE / "peer_decode.py", engine, path, options.model / f"inputs-{options.tokens}.safetensors", options.steps,
         options.threads],
        os.environ | {"OMP_NUM_THREADS": str(options.threads), "TRANSFORMERS_VERBOSITY": "error"})


def run_ours(options):
    command = [options.mmprobe, "bench-forward", options.model, "--inputs",
               options.model / f"inputs-{options.tokens}.safetensors", "--decode", options.steps, "--threads",
               options.threads, "--json"]
    text = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True).stdout
    answer = json.loads(text)
    return {"ids": answer["ids"], "seconds": answer["token_seconds"]}


def main():
    options = parse_arguments()
    engines = {"transformers-float32": (sys.executable, options.model), "transformers-bfloat16": (sys.executable, options.model)}
    if options.gguf:
        if not options.gguf.exists():
            subprocess.run(
                [options.llama_python, str(HERE / "write_gguf.py"), str(options.model), str(options.gguf)], check=True)
        engines["llama.cpp-bfloat16"] = (options.llama_python, options.gguf)
    ids = {"mmprobe": run_ours(options)["ids"]}
    medians = {name: [] for name in ["mmprobe", *engines]}
    # One engine in memory at a time: float32 weights of several would not fit a small machine.
    for name, (python, path) in engines.items():
        peer = start_peer(python, name, options, path)
        ids[name] = peer.ask()["ids"]
        for index in range(options.rounds):
            for side in ["mmprobe", name] if index % 2 == 0 else [name, "mmprobe"]:
                time.sleep(0.5)
                # The first run is not counted: on some virtual machines a process is slow after another's.
                for _ in range(2):
                    answer = run_ours(options) if side == "mmprobe" else peer.ask()
                medians[side].append(statistics.median(answer["seconds"]))
        peer.close()
    if ids["mmprobe"] != ids["transformers-float32"]:
        raise RuntimeError(f"other tokens: {ids}")
    for name in engines:
        same = next((i for i, (a, b) in enumerate(zip(ids["mmprobe"], ids[name])) if a != b), len(ids[name]))
        print(f"{name}: the first {same} of {len(ids[name])} tokens are the same as ours")
    path = options.results / "decode.csv"
    path.unlink(missing_ok=True)
    rows = []
    for name, seconds in medians.items():
        rate = 1 / statistics.median(seconds)
        rows.append([name, options.tokens, options.threads, f"{rate:.3f}", f"{1 / max(seconds):.3f}",
                     f"{1 / min(seconds):.3f}", len(seconds), processor_name()])
        print(f"{name:24} {rate:7.2f} tokens/s")
    append_rows(
        path, ["engine", "prompt", "threads", "tokens_per_second", "slowest_round", "quickest_round", "rounds", "processor"],
        rows)


if __name__ == "__main__":
    main()
