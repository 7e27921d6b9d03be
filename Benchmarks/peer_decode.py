"""Greedy decoding by transformers or llama.cpp: ENGINE MODEL INPUTS STEPS THREADS. A run for every line of standard input,
answered with one line of JSON: the ids, and the seconds of every token after the first."""

import json
import sys
import time


def with_transformers(engine, path, ids, steps, threads):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    dtype = torch.bfloat16 if engine.endswith("bfloat16") else torch.float32
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()
    prompt = torch.tensor([ids])

    def run():
        chosen, times, cache, current = [], [], None, prompt
        with torch.inference_mode():
            for _ in range(steps):
                result = model(current, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache, current = result.past_key_values, result.logits[:, -1:].argmax(-1)
                chosen.append(int(current))
                times.append(time.perf_counter())
        return chosen, times

    return run


def with_llama_cpp(path, ids, steps, threads):
    from llama_cpp import Llama

    model = Llama(path, n_ctx=len(ids) + steps + 8, n_threads=threads, n_threads_batch=threads, logits_all=False, verbose=False)

    def run():
        chosen, times = [], []
        model.reset()
        model.eval(ids)
        for step in range(steps):
            token = model.sample(temp=0.0)
            chosen.append(int(token))
            times.append(time.perf_counter())
            if step + 1 < steps:
                model.eval([token])
        return chosen, times

    return run


def main():
    engine, path, inputs, steps, threads = sys.argv[1:]
    from safetensors.numpy import load_file

    ids = load_file(inputs)["input_ids"][0].tolist()
    run = (
        with_llama_cpp(path, ids, int(steps), int(threads)) if engine.startswith("llama.cpp")
        else with_transformers(engine, path, ids, int(steps), int(threads)))
    for _ in sys.stdin:
        chosen, times = run()
        print(json.dumps({"ids": chosen, "seconds": [b - a for a, b in zip(times, times[1:])]}), flush=True)


if __name__ == "__main__":
    main()
