"""One forward pass of a LLaMA or LLaVA checkpoint in transformers, as often as asked for.

Reads commands from standard input, one a line, and answers each with one line of JSON:

    run         runs one pass and tells its seconds
    touch       reads every weight once
    save FILE   writes the outputs of the last pass as safetensors
    memory      tells the anonymous resident memory in bytes

Modes:

    sdpa         attention without any statistics
    sdpa-bf16    the same in bfloat16
    eager-keep   output_attentions=True as documented: all layers' probabilities are returned, then reduced
    eager-hooks  output_attentions=True, and a hook reduces each layer's probabilities as soon as they are there, so
                 that no two layers' are kept: what a careful user would write

Group sums are one product of the probabilities with the indicator matrix of the groups, the quickest way we know.
The groups are the quarters of the keys in order. Only the last row gets logits, unless --logits all.
"""

import argparse
import gc
import json
import sys
import time

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.utils import logging


def anonymous_bytes():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no RssAnon in /proc/self/status")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--inputs", required=True)
    parser.add_argument("--mode", choices=["sdpa", "sdpa-bf16", "eager-keep", "eager-hooks"], required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--logits", choices=["last", "all"], default="last")
    return parser.parse_args()


def without_tower_attentions(folder, attention):
    """The configuration with this attention in the decoder; towers, whose statistics nobody takes, use the fused one."""
    config = AutoConfig.from_pretrained(folder)
    config._attn_implementation = attention
    if hasattr(config, "text_config"):
        config._attn_implementation = {"text_config": attention, "vision_config": "sdpa"}
    return config


class Peer:
    def __init__(self, options):
        self.mode = options.mode
        self.inputs = load_file(options.inputs)
        self.rows = 1 if options.logits == "last" else 0
        has_images = "pixel_values" in self.inputs
        dtype = torch.bfloat16 if self.mode == "sdpa-bf16" else torch.float32
        if has_images:
            self.inputs["pixel_values"] = self.inputs["pixel_values"].to(dtype)
        family = AutoModelForImageTextToText if has_images else AutoModelForCausalLM
        attention = "sdpa" if self.mode.startswith("sdpa") else "eager"
        self.model = family.from_pretrained(
            options.model, config=without_tower_attentions(options.model, attention), dtype=dtype)
        self.model.eval()
        count = self.inputs["input_ids"].shape[1]
        groups = torch.arange(count) * 4 // count
        self.indicator = torch.nn.functional.one_hot(groups, 4).float()
        self.outputs = {}
        if self.mode == "eager-hooks":
            decoder = self.model.model.language_model if has_images else self.model.model
            for layer in decoder.layers:
                layer.self_attn.register_forward_hook(self.reduce)

    def reduce(self, module, arguments, output):
        hidden, probabilities = output
        return hidden, probabilities @ self.indicator

    def forward(self):
        wants_attentions = not self.mode.startswith("sdpa")
        with torch.inference_mode():
            result = self.model(
                **self.inputs, use_cache=False, output_attentions=wants_attentions, logits_to_keep=self.rows)
            masses = []
            if self.mode == "eager-keep":
                masses = [probabilities @ self.indicator for probabilities in result.attentions]
            elif self.mode == "eager-hooks":
                masses = list(result.attentions)
        return result.logits, masses

    def run(self):
        start = time.perf_counter()
        logits, masses = self.forward()
        seconds = time.perf_counter() - start
        # As `mmprobe bench-forward -o` writes them: logits of the last row, shares [rows, heads, groups].
        self.outputs = {"logits": logits[0, -1:].float().clone()}
        for layer, mass in enumerate(masses):
            self.outputs[f"shares.{layer}"] = mass[0].transpose(0, 1).contiguous()
        return {"seconds": seconds}


def main():
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    peer = Peer(options)
    gc.collect()
    print(json.dumps({"ready": True, "memory": anonymous_bytes()}), flush=True)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "run":
            answer = peer.run()
        elif words[0] == "touch":
            with torch.inference_mode():
                answer = {"sum": float(sum(weight.sum(dtype=torch.float32) for weight in peer.model.parameters()))}
        elif words[0] == "save":
            save_file(peer.outputs, words[1])
            answer = {"saved": sorted(peer.outputs)}
        else:
            answer = {"memory": anonymous_bytes()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
