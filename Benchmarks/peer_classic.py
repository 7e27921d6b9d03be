"""PyTorch doing what `mmprobe bench run` does for joint training, on the CPU in float32.

AVDigits (image and sound): the random streams of mmprobe are computed here again, so that both sides start with the same weights
and see the same batches. Sequences of the shapes of CMU-MOSEI: weights are those that mmprobe wrote, and an epoch is one batch. One answer for each line of standard input: `run N` trains N steps and tells the seconds of each and their mean loss.
"""

import argparse
import hashlib
import json
import pathlib
import struct
import sys
import time

import numpy
import torch
from safetensors.torch import load_file
from torch import nn

MASK = (1 << 64) - 1
SIZES = {"image": (8, 8), "audio": (40, 48)}
BATCH = 64


class RandomStream:
    """xoshiro256** keyed by SHA-256."""

    def __init__(self, seed, purpose, epoch=0):
        key = b"mmprobe.stream/v1" + b"".join(struct.pack("<q", value) for value in [seed, epoch, 0, 0]) + purpose.encode()
        self.state = list(struct.unpack("<4Q", hashlib.sha256(key).digest()))

    def next(self):
        state = self.state
        turn = lambda word, count: ((word << count) | (word >> (64 - count))) & MASK
        result = turn(state[1] * 5 & MASK, 7) * 9 & MASK
        shifted = state[1] << 17 & MASK
        state[2] ^= state[0]
        state[3] ^= state[1]
        state[1] ^= state[2]
        state[0] ^= state[3]
        state[2] ^= shifted
        state[3] = turn(state[3], 45)
        return result

    def uniform(self):
        return numpy.float32(self.next() >> 40) * numpy.float32(2**-24)

    def below(self, bound):
        product = self.next() * bound
        if product & MASK < bound:
            threshold = -bound & MASK
            threshold %= bound
            while product & MASK < threshold:
                product = self.next() * bound
        return product >> 64

    def permutation(self, count):
        order = list(range(count))
        for last in range(count - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order


class Digits(nn.Module):
    """The small network of AVDigits for each modality, concatenated before a linear head."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleDict({name: self.tower(*size) for name, size in SIZES.items()})
        self.head = nn.Linear(64 * len(SIZES), 10)

    @staticmethod
    def tower(rows, columns):
        window = (rows // 8, columns // 8)
        flat = 32 * (rows // 4 // window[0]) * (columns // 4 // window[1])
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.AvgPool2d(window), nn.Linear(flat, 64))

    def start(self, seed):
        for name, value in self.named_parameters():
            shape = list(value.shape)
            inputs = value[0].numel() if value.dim() > 1 else dict(self.named_parameters())[name[:-4] + "weight"][0].numel()
            stream, bound = RandomStream(seed, "initial " + name), numpy.float32(1) / numpy.sqrt(numpy.float32(inputs))
            stored = [shape[0], *shape[2:], shape[1]] if value.dim() == 4 else shape
            drawn = torch.tensor(numpy.array(
                [(numpy.float32(2) * stream.uniform() - numpy.float32(1)) * bound for _ in range(value.numel())],
                dtype=numpy.float32)).reshape(stored)
            value.data.copy_(drawn.permute(0, 3, 1, 2) if value.dim() == 4 else drawn)

    def forward(self, inputs):
        features = []
        for name, x in inputs.items():
            tower = self.encoder[name]
            # mmprobe flattens with channels innermost.
            features.append(tower[7](tower[:7](x).permute(0, 2, 3, 1).flatten(1)))
        return self.head(torch.cat(features, dim=1))


class Sequences(nn.Module):
    """The transformer of each modality that BalanceBenchmark has for CMU-MOSEI, without dropout, before a linear head."""

    def __init__(self, sizes, stored):
        super().__init__()
        width = 1024
        self.projection = nn.ModuleDict({name: nn.Linear(size, width, bias=False) for name, size in sizes.items()})
        self.layers = nn.ModuleDict({
            name: nn.ModuleList(
                nn.TransformerEncoderLayer(width, 4, 2048, dropout=0, batch_first=True) for _ in range(2)) for name in sizes})
        self.head = nn.Linear(len(sizes) * width, 2)
        with torch.no_grad():
            for name, value in self.named_parameters():
                parts = name.split(".")
                own = name if parts[0] == "head" else ".".join(["encoder", parts[1], parts[0], *parts[2:]])
                value.copy_(stored[own])

    def forward(self, inputs):
        features = []
        for name, x in inputs.items():
            x = self.projection[name](x)
            for layer in self.layers[name]:
                x = layer(x)
            features.append(x[:, -1])
        return self.head(torch.cat(features, dim=1))


def read_digits(folder, seed):
    scales = json.loads((folder / "dataset.json").read_text())["normalisation"]
    stored = load_file(folder / "train.safetensors")
    inputs = {
        name: ((stored[name].double() / 255 - scales[name]["mean"]) / scales[name]["std"]).float() for name in SIZES}
    model = Digits()
    model.start(seed)
    return model, inputs, stored["label"], BATCH


def read_sequences(folder, weights):
    stored = numpy.load(folder / "train.npz")
    inputs = {name: torch.tensor(stored[name]) for name in ["audio", "vision", "text"]}
    labels = torch.tensor((stored["labels"] >= 0).astype(numpy.int64))
    model = Sequences({name: x.shape[2] for name, x in inputs.items()}, load_file(weights))
    return model, inputs, labels, len(labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", type=pathlib.Path, help="start with these, on sequences")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    read = read_sequences(options.data, options.weights) if options.weights else read_digits(options.data, options.seed)
    model, inputs, labels, size = read
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    batches = len(labels) // size
    step, order = 0, []
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        seconds, losses = [], []
        for _ in range(int(line.split()[1])):
            if step % batches == 0:
                order = RandomStream(options.seed, "order", epoch=step // batches).permutation(len(labels))
            start = time.perf_counter()
            rows = torch.tensor(order[step % batches * size:(step % batches + 1) * size])
            loss = nn.functional.cross_entropy(model({name: x[rows] for name, x in inputs.items()}), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            seconds.append(time.perf_counter() - start)
            losses.append(loss.item())
            step += 1
        print(json.dumps({"seconds": seconds, "loss": sum(losses) / len(losses)}), flush=True)


if __name__ == "__main__":
    main()
