"""Makes Tests/Fixtures/encoders/transformer: what torch.nn.TransformerEncoder computes for the transformer encoders of the
classic benchmark, with and without positions and padding.

    python make_transformer_encoder.py FIXTURES

FIXTURES is Tests/Fixtures. Needs what make_encoders.py needs. Weights and inputs come from the generator that the tests have
too. Everything is computed in Float64, in training mode without dropout, so that no fast path is taken.
"""

import math
import pathlib
import sys

import torch
from make_encoders import name_seed, spread, tensor, write

WIDTH, HEADS, INNER, LAYERS = 8, 2, 12, 2
# Steps of zeros before and after the others.
CASES = {
    "plain": {"steps": 5, "size": 3, "padding": [[0, 0], [0, 2], [1, 0]], "positions": "none", "pooling": "last"},
    "corrected": {
        "steps": 5, "size": 3, "padding": [[0, 0], [0, 2], [2, 0], [1, 3], [0, 5]], "positions": "sinusoidal",
        "pooling": "mean"},
    "tokens": {
        "steps": 4, "vocabulary": 6, "ids": [[3, 6, 1, 2], [5, 5, 0, 0], [0, 0, 0, 0]], "positions": "learned",
        "pooling": "first"},
}


def sinusoids(steps):
    table = torch.zeros(steps, WIDTH, dtype=torch.float64)
    for p in range(steps):
        for c in range(WIDTH):
            angle = p / 10000 ** ((c - c % 2) / WIDTH)
            table[p, c] = math.sin(angle) if c % 2 == 0 else math.cos(angle)
    return table


def run(name, case):
    layer = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, dropout=0.0, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False).double().train()
    model.load_state_dict({k: tensor(k, tuple(v.shape)).double() for k, v in model.state_dict().items()})
    steps, corrected = case["steps"], name != "plain"
    first = {}
    if "ids" in case:
        first["embedding.weight"] = tensor("embedding.weight", (case["vocabulary"] + 1, WIDTH))
    else:
        first["projection.weight"] = tensor("projection.weight", (WIDTH, case["size"]))
    if case["positions"] == "learned":
        first["positions"] = tensor("positions", (steps, WIDTH))
    first = {k: v.double().requires_grad_() for k, v in first.items()}
    if "ids" in case:
        ids = torch.tensor(case["ids"])
        x, real = first["embedding.weight"][ids], ids != 0
    else:
        count = len(case["padding"])
        values = spread(count * steps * case["size"], name_seed(name)).reshape(count, steps, case["size"])
        real = torch.ones(count, steps, dtype=torch.bool)
        for sample, (before, after) in enumerate(case["padding"]):
            real[sample, :before] = False
            real[sample, steps - after:] = False
        x = torch.from_numpy(values).double() * real[..., None]
        x = x @ first["projection.weight"].T
    if corrected:
        # A sample without anything keeps one step.
        real[:, 0] |= ~real.any(1)
        table = first["positions"] if case["positions"] == "learned" else sinusoids(steps)
        begin = real.int().argmax(1)
        places = (torch.arange(steps)[None] - begin[:, None]).clamp(0, steps - 1)
        x = x + table[places]
    x = model(x, src_key_padding_mask=~real if corrected else None)
    if case["pooling"] == "last":
        output = x[:, -1]
    elif case["pooling"] == "first":
        output = x[torch.arange(len(x)), real.int().argmax(1)]
    else:
        output = (x * real[..., None]).sum(1) / real.sum(1, keepdim=True)
    weights = torch.from_numpy(spread(output.numel(), 7).reshape(output.shape)).double()
    named = first | dict(model.named_parameters())
    gradients = torch.autograd.grad((output * weights).sum(), list(named.values()))
    return {name + ".output": output} | {f"{name}.gradient.{k}": g for k, g in zip(named, gradients)}


def main():
    results = {}
    for name, case in CASES.items():
        results |= run(name, case)
    write(
        pathlib.Path(sys.argv[1]) / "encoders" / "transformer", results, cases=CASES, width=WIDTH, heads=HEADS,
        inner=INNER, layers=LAYERS, torch=torch.__version__)


if __name__ == "__main__":
    main()
