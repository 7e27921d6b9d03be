"""The PEFT side of compare_lora.py: LoRA around the linear layers of a LLaMA, one training step at a time, in float32.

Commands on standard input, answers as JSON lines: `run` does one step and tells its seconds and loss, `gradients FILE`
writes the gradients of the adapter before the next step, `memory` tells the anonymous resident memory.
"""

import argparse
import gc
import json
import sys
import time

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from peer_training import anonymous_bytes

RANK = 8


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder of the checkpoint")
    parser.add_argument("--adapter", required=True, help="folder of the adapter")
    parser.add_argument("--export", action="store_true", help="write a new adapter to this folder and end")
    parser.add_argument("--inputs", help="safetensors file with input_ids")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = LlamaForCausalLM.from_pretrained(options.model, dtype=torch.float32, attn_implementation="sdpa")
    if options.export:
        model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"))
        for name, parameter in model.named_parameters():
            # From zeros the gradient of A would be zero too.
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.02)
        model.save_pretrained(options.adapter)
        frozen = sum(value.numel() for name, value in model.named_parameters() if "lora_" not in name)
        trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
        print(json.dumps({"parameters": frozen, "trained": trained}))
        return
    model = PeftModel.from_pretrained(model, options.adapter, is_trainable=True).train()
    ids = load_file(options.inputs)["input_ids"]
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)

    def backward():
        optimizer.zero_grad(set_to_none=True)
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        return loss

    gc.collect()
    print(json.dumps({"ready": True, "memory": anonymous_bytes()}), flush=True)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "run":
            start = time.perf_counter()
            loss = backward()
            optimizer.step()
            answer = {"seconds": time.perf_counter() - start, "loss": loss.item()}
        elif words[0] == "gradients":
            backward()
            found = {name.replace(".default", ""): value.grad.contiguous() for name, value in parameters.items()}
            save_file(found, words[1])
            answer = {"tensors": len(found)}
        else:
            answer = {"memory": anonymous_bytes()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
