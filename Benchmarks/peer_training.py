"""The PyTorch side of compare_training.py: small models, one training step at a time, on the CPU in float32.

Commands on standard input, answers as JSON lines: `run` does one step and tells its seconds and loss, `memory` the
anonymous resident memory.
"""

import argparse
import gc
import json
import sys
import time

import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

BATCH, LENGTH, WIDTH, INNER, HEADS, VOCABULARY, CLASSES = 32, 128, 256, 1024, 4, 1000, 6
IMAGES = 64


class Decoder(nn.Module):
    """A LLaMA of 6 layers as transformers has it, next-token loss over all positions."""

    def __init__(self):
        super().__init__()
        self.model = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=6, num_attention_heads=HEADS,
                num_key_value_heads=HEADS, vocab_size=VOCABULARY, max_position_embeddings=LENGTH,
                tie_word_embeddings=False, attn_implementation="sdpa"))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.05)
        self.inputs = {"ids": torch.randint(VOCABULARY, (BATCH, LENGTH))}

    def loss(self):
        ids = self.inputs["ids"]
        return self.model(input_ids=ids, labels=ids, use_cache=False).loss

    def weights(self):
        return dict(self.model.named_parameters())

    def settings(self):
        return self.model.config.to_dict()


class Encoders(nn.Module):
    """Three encoders of 4 layers, their means over time side by side, and a linear classifier."""

    def __init__(self):
        super().__init__()
        self.encoders = nn.ModuleList(
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(
                    WIDTH, HEADS, INNER, dropout=0.0, activation="gelu", batch_first=True, norm_first=True),
                num_layers=4, enable_nested_tensor=False)
            for _ in range(3))
        self.head = nn.Linear(3 * WIDTH, CLASSES)
        self.inputs = {f"x.{m}": torch.randn(BATCH, LENGTH, WIDTH) for m in range(3)}
        self.inputs["labels"] = torch.randint(CLASSES, (BATCH,))

    def loss(self):
        means = [encoder(self.inputs[f"x.{m}"]).mean(dim=1) for m, encoder in enumerate(self.encoders)]
        return nn.functional.cross_entropy(self.head(torch.cat(means, dim=1)), self.inputs["labels"])

    def weights(self):
        return dict(self.named_parameters())

    def settings(self):
        return {}


def tower():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Towers(nn.Module):
    """A small convolutional network for sound (1x40x48) and one for images (1x8x8), and a linear classifier."""

    def __init__(self):
        super().__init__()
        self.audio, self.image, self.head = tower(), tower(), nn.Linear(128, 10)
        self.inputs = {"audio": torch.randn(IMAGES, 1, 40, 48), "image": torch.randn(IMAGES, 1, 8, 8)}
        self.inputs["labels"] = torch.randint(10, (IMAGES,))

    def loss(self):
        both = torch.cat([self.audio(self.inputs["audio"]), self.image(self.inputs["image"])], dim=1)
        return nn.functional.cross_entropy(self.head(both), self.inputs["labels"])

    def weights(self):
        # Channels innermost, as mmprobe has them.
        return {
            name: value.permute(0, 2, 3, 1) if value.dim() == 4 else value
            for name, value in self.named_parameters()}

    def settings(self):
        return {}


class ResNets(nn.Module):
    """ResNet18 of torchvision for a spectrogram (1x257x188) and for two frames (3x224x224), means over places and frames, and a
    linear classifier: the networks that benchmarks of imbalance train on CREMA-D."""

    def __init__(self, channels_last=False):
        super().__init__()
        self.audio, self.frames = torchvision.models.resnet18(), torchvision.models.resnet18()
        self.audio.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        nn.init.kaiming_normal_(self.audio.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.audio.fc, self.frames.fc, self.head = nn.Identity(), nn.Identity(), nn.Linear(1024, 6)
        self.inputs = {"audio": torch.randn(16, 1, 257, 188), "frames": torch.randn(16, 2, 3, 224, 224)}
        self.inputs["labels"] = torch.randint(6, (16,))
        self.images = [self.inputs["audio"], self.inputs["frames"].flatten(0, 1)]
        if channels_last:
            self.to(memory_format=torch.channels_last)
            self.images = [images.contiguous(memory_format=torch.channels_last) for images in self.images]

    def loss(self):
        sound, frames = self.audio(self.images[0]), self.frames(self.images[1]).unflatten(0, (16, 2)).mean(dim=1)
        return nn.functional.cross_entropy(self.head(torch.cat([sound, frames], dim=1)), self.inputs["labels"])

    def weights(self):
        return {
            name: value.permute(0, 2, 3, 1) if value.dim() == 4 else value
            for name, value in self.named_parameters()}

    def exported_inputs(self):
        return {
            "audio": self.inputs["audio"].permute(0, 2, 3, 1), "frames": self.inputs["frames"].permute(0, 1, 3, 4, 2),
            "labels": self.inputs["labels"]}

    def settings(self):
        return {}


MODELS = {"decoder": Decoder, "encoders": Encoders, "towers": Towers, "resnets": ResNets}


def anonymous_bytes():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no RssAnon in /proc/self/status")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--export", help="write weights and inputs to this safetensors file and end")
    parser.add_argument("--channels-last", action="store_true", help="of the ResNets, keep channels innermost")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = ResNets(options.channels_last) if options.model == "resnets" else MODELS[options.model]()
    if options.export:
        tensors = {f"weight.{name}": value.detach().contiguous() for name, value in model.weights().items()}
        exported = model.exported_inputs() if options.model == "resnets" else model.inputs
        tensors |= {f"input.{name}": value.contiguous() for name, value in exported.items()}
        save_file(tensors, options.export, metadata={"settings": json.dumps(model.settings(), default=str)})
        return
    # The default implementation updates all tensors in one call each (foreach).
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    gc.collect()
    print(json.dumps({"ready": True, "memory": anonymous_bytes()}), flush=True)
    for line in sys.stdin:
        if line.strip() == "run":
            start = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            loss = model.loss()
            loss.backward()
            optimizer.step()
            answer = {"seconds": time.perf_counter() - start, "loss": loss.item()}
        else:
            answer = {"memory": anonymous_bytes()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
