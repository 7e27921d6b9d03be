"""Makes Tests/Fixtures/classic/rollingq_m2 and rollingq_m3: RollingQ as a method of the benchmark, step by step in float64.

    python make_rollingq_classic.py Tests/Fixtures/classic

Written from the formulas of Ni et al., arXiv:2506.11465, with torch's autograd and SGD: a class token attends to itself and
one token of each modality, two batches make an epoch, the query is rotated, and one more step is taken. The rotation is the
one in the plane of mean query and anchor, here as I + (yxᵀ − xyᵀ) + (yxᵀ − xyᵀ)² / (1 + x·y).
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

SIZES = {"audio": 5, "visual": 4, "text": 3}
HIDDEN, WIDTH, CLASSES, BATCH = 6, 5, 4, 8
SHARPNESS, RATE, MOMENTUM, DECAY = 1.0, 0.05, 0.9, 1e-4


def unit(vector):
    return vector / vector.norm()


def case(count, folder):
    generator = torch.Generator().manual_seed(20 + count)
    names = list(SIZES)[:count]

    def draw(*shape):
        # Values that float32 holds exactly.
        return (0.6 * torch.randn(*shape, generator=generator)).float().double()

    parameters = {}

    def linear(name, inputs, outputs):
        parameters[f"{name}.weight"], parameters[f"{name}.bias"] = draw(outputs, inputs), draw(outputs)

    for name in names:
        linear(f"encoder.{name}.0", SIZES[name], HIDDEN)
        linear(f"encoder.{name}.2", HIDDEN, WIDTH)
    parameters["head.class_token"] = draw(1, WIDTH)
    for name in ["query", "key", "value", "output"]:
        linear(f"head.layers.0.{name}", WIDTH, WIDTH)
    linear("head.head", WIDTH, CLASSES)
    for value in parameters.values():
        value.requires_grad_(True)
    stored = {f"before.{name}": value.detach().float() for name, value in parameters.items()}
    batches = []
    for index in range(2):
        inputs = {name: draw(BATCH, SIZES[name]) for name in names}
        labels = torch.randint(CLASSES, (BATCH,), generator=generator)
        batches.append((inputs, labels))
        stored |= {f"batch{index}.x.{name}": value.float() for name, value in inputs.items()}
        stored[f"batch{index}.y"] = labels

    def affine(name, x):
        return x @ parameters[f"{name}.weight"].T + parameters[f"{name}.bias"]

    rotation = torch.eye(WIDTH, dtype=torch.float64)
    optimizer = torch.optim.SGD(parameters.values(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    queries, keys = [], []

    def step(k, inputs, labels):
        features = {name: affine(f"encoder.{name}.2", torch.tanh(affine(f"encoder.{name}.0", inputs[name]))) for name in names}
        tokens = torch.stack([parameters["head.class_token"].expand(BATCH, -1), *features.values()], dim=1)
        query = affine("head.layers.0.query", tokens[:, 0]) @ rotation.T
        key, value = affine("head.layers.0.key", tokens), affine("head.layers.0.value", tokens)
        weights = torch.softmax(torch.einsum("bd,btd->bt", query, key) / WIDTH**0.5, dim=1)
        logits = affine("head.head", affine("head.layers.0.output", torch.einsum("bt,btd->bd", weights, value)))
        loss = torch.nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        queries.append(query.detach())
        keys.append(key.detach())
        stored.update({f"step{k}.h.{name}": value.detach() for name, value in features.items()})
        stored.update({f"step{k}.z": logits.detach(), f"step{k}.loss.total": loss.detach(), f"step{k}.query": query.detach()})
        stored[f"step{k}.key"] = key.detach().reshape(-1, WIDTH)
        seen, tokens_seen = torch.cat(queries), torch.cat(keys)
        stored[f"step{k}.cosine"] = torch.stack([
            torch.nn.functional.cosine_similarity(seen, tokens_seen[:, 1 + m], dim=1, eps=0).mean() for m in range(count)])
        stored.update({f"step{k}.grad.{name}": value.grad.clone() for name, value in parameters.items()})
        optimizer.step()
        stored.update({f"after{k + 1}.{name}": value.detach().clone() for name, value in parameters.items()})

    for k, (inputs, labels) in enumerate(batches):
        step(k, inputs, labels)
    cosines = stored["step1.cosine"]
    weights = torch.softmax(-2 * SHARPNESS * cosines, dim=0)
    means = torch.cat(keys).mean(dim=0)[1:]
    anchor = unit((weights[:, None] * means / means.norm(dim=1, keepdim=True)).sum(dim=0))
    start = unit(torch.cat(queries).mean(dim=0))
    turn = torch.outer(anchor, start) - torch.outer(start, anchor)
    rotation = torch.eye(WIDTH, dtype=torch.float64) + turn + turn @ turn / (1 + start @ anchor)
    stored["rotation"] = rotation.clone()
    queries.clear()
    keys.clear()
    step(2, *batches[0])

    place = pathlib.Path(folder) / f"rollingq_m{count}"
    place.mkdir(exist_ok=True)
    save_file({name: value.contiguous() for name, value in stored.items()}, place / "tensors.safetensors")
    description = {
        "case": f"rollingq_m{count}", "method": "RollingQ", "modalities": names,
        "hyperparameters": {"sharpness": SHARPNESS, "threshold": 0, "limit": 1},
        "sizes": {"M": count, "d_in": {name: SIZES[name] for name in names}, "hidden": HIDDEN, "d": WIDTH,
                  "classes": CLASSES, "batch": BATCH},
        "optimizer": {"name": "SGD", "lr": RATE, "momentum": MOMENTUM, "weight_decay": DECAY},
        "tolerance": {"relative": 1e-5},
        "notes": ["step0 and step1 are an epoch; the query is rotated by 'rotation'; step2 is the first of the next epoch",
                  "cosine: over the rows of the epoch so far"]}
    (place / "case.json").write_text(json.dumps(description, indent=1) + "\n")


for modalities in [2, 3]:
    case(modalities, sys.argv[1])
