"""Memory of the attention statistics by length: the peak of anonymous memory of `mmprobe bench-forward`.

The weights are mapped from the file, so everything counted is activations, buffers and the program itself.
"""

import argparse
import pathlib

import compare_attention

LIMIT_BYTES = (80 << 20, 32 << 10)  # at most 80 MiB + 32 KiB a token


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, help="folder written by make_llama.py")
    parser.add_argument("--mmprobe", type=pathlib.Path, default=compare_attention.HERE.parent / ".build/release/mmprobe")
    parser.add_argument("--tokens", type=int, nargs="+", default=[1024, 2048, 4096, 8192])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=pathlib.Path, default=compare_attention.HERE / "results")
    options = parser.parse_args()
    options.logits = "last"
    rows = []
    for tokens in options.tokens:
        process = compare_attention.start_ours(options, tokens)
        watch = compare_attention.MemoryWatch(process)
        process.communicate()
        peak = watch.stop()
        limit = LIMIT_BYTES[0] + LIMIT_BYTES[1] * tokens
        rows.append([tokens, options.threads, peak, limit])
        print(f"{tokens} tokens: {peak / 2**20:.0f} MiB, at most {limit / 2**20:.0f} MiB", flush=True)
    path = options.results / "attention-memory-by-length.csv"
    path.unlink(missing_ok=True)
    compare_attention.append_rows(path, ["tokens", "threads", "peak_bytes", "limit_bytes"], rows)


if __name__ == "__main__":
    main()
