"""Makes Tests/Fixtures/encoders: what torchvision and transformers compute with ResNet18, ViT and BERT, and what BertTokenizer
makes of difficult strings.

    python make_encoders.py FIXTURES
    python make_encoders.py --full FOLDER

FIXTURES is Tests/Fixtures. With --full it makes vit and bert of ViT-B/16 and BERT-base alone, which the tests take in place of
the small ones where MMPROBE_ENCODER_CASES names FOLDER, relative to Tests/Fixtures. Needs torch, torchvision, transformers, tokenizers, safetensors, numpy. Weights and inputs come from
a small generator that the tests have too, so that only results are stored: outputs, and of the gradient of every parameter
sixteen numbers, the sum, the sum of magnitudes and the largest magnitude. Everything is computed in Float64.
"""

import json
import math
import pathlib
import random
import sys

import numpy as np
import torch
import torchvision
import transformers
from safetensors.numpy import save_file
from tokenizers import BertWordPieceTokenizer

MULTIPLIER, INCREMENT, MASK = 6_364_136_223_846_793_005, 1_442_695_040_888_963_407, (1 << 64) - 1


def spread(count, seed, scale=1.0):
    """`randomTensor` of Tests/TestSupport: evenly spread over +-scale."""
    state = ((seed * 0x9E37_79B9_7F4A_7C15) & MASK) | 1
    powers = np.cumprod(np.full(count, MULTIPLIER, np.uint64), dtype=np.uint64)
    ones = np.concatenate([np.ones(1, np.uint64), powers[:-1]])
    sums = np.cumsum(ones, dtype=np.uint64) * np.uint64(INCREMENT)
    states = powers * np.uint64(state) + sums
    unit = (states >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24) - np.float32(0.5)
    return unit * np.float32(2) * np.float32(scale)


def name_seed(name):
    """FNV-1a of the name."""
    value = 0xCBF2_9CE4_8422_2325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100_0000_01B3) & MASK
    return value


def tensor(name, shape):
    """The values of a parameter or buffer; small ones around 1 or 0, others so that magnitudes stay."""
    count, seed = math.prod(shape), name_seed(name)
    if len(shape) > 1:
        values = spread(count, seed, np.float32(math.sqrt(3 / math.prod(shape[1:]))))
    elif name.endswith(("bias", "running_mean")):
        values = spread(count, seed, 0.1)
    else:
        values = spread(count, seed, 0.25) + np.float32(1)
    return torch.from_numpy(values.reshape(shape))


def fill(model):
    model.load_state_dict({
        k: torch.zeros_like(v) if v.dtype == torch.int64 else tensor(k, tuple(v.shape))
        for k, v in model.state_dict().items()})
    return model.double()


def summaries(prefix, named):
    rows = []
    for _, gradient in named:
        flat = gradient.reshape(-1)
        rows.append(torch.cat([
            flat[[k * len(flat) // 16 for k in range(16)]], flat.sum()[None], flat.abs().sum()[None],
            flat.abs().max()[None]]))
    return {prefix + ".gradients": torch.stack(rows)}


def write(folder, tensors, **more):
    folder.mkdir(parents=True, exist_ok=True)
    # As stored, rounded once: tolerances are far above.
    arrays = {
        k: v.detach().numpy() if v.dtype == torch.int64 else v.detach().float().numpy() for k, v in tensors.items()}
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, folder / "expected.safetensors")
    case = {**more, "tensors": {k: {"shape": list(v.shape)} for k, v in arrays.items()}}
    (folder / "case.json").write_text(json.dumps(case, separators=(",", ":")) + "\n")


def resnet(folder):
    results = {}
    # Channels, samples, frames, rows, columns: sizes at which no ReLU stands within rounding of 0, where Float32 and Float64
    # would give different gradients.
    cases = {"audio": (1, 3, 1, 65, 48), "frames": (3, 2, 2, 64, 72), "flow": (4, 3, 1, 48, 64)}
    for name, (channels, samples, frames, rows, columns) in cases.items():
        model = torchvision.models.resnet18(weights=None)
        if channels != 3:
            model.conv1 = torch.nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        model.fc = torch.nn.Identity()
        images = spread(samples * frames * rows * columns * channels, name_seed(name))
        images = torch.from_numpy(images.reshape(samples * frames, rows, columns, channels)).permute(0, 3, 1, 2).double()
        for mode in ["train", "eval"] if name == "frames" else ["train"]:
            fill(model).train(mode == "train")
            # The mean over places is the model's own; over frames as in the benchmark.
            output = model(images).reshape(samples, frames, 512).mean(1)
            weights = torch.from_numpy(spread(samples * 512, 7).reshape(samples, 512)).double()
            parameters = list(model.named_parameters())
            gradients = torch.autograd.grad((output * weights).sum(), [p for _, p in parameters])
            results[f"{name}.{mode}.output"] = output
            results |= summaries(f"{name}.{mode}", zip([n for n, _ in parameters], gradients))
            if mode == "train":
                results[name + ".buffers"] = torch.stack([
                    torch.stack([b[0], b[-1], b.sum()]) for n, b in model.named_buffers() if "running" in n])
    write(folder, results, cases={k: list(v) for k, v in cases.items()})


SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}


def vit(folder, **sizes):
    config = transformers.ViTConfig(num_labels=6, attn_implementation="eager", **sizes)
    model = fill(transformers.ViTForImageClassification(config)).eval()
    side = config.image_size
    images = spread(3 * side * side * 3, name_seed("images")).reshape(3, side, side, 3)
    images = torch.from_numpy(images).permute(0, 3, 1, 2).double()
    hidden, logits = model.vit(images).last_hidden_state, model(images).logits
    weights = torch.from_numpy(spread(18, 7).reshape(3, 6)).double()
    parameters = list(model.named_parameters())
    gradients = torch.autograd.grad((logits * weights).sum(), [p for _, p in parameters])
    names = [n for n, _ in parameters]
    write(folder, {"hidden": hidden.reshape(-1, config.hidden_size), "logits": logits, **summaries("logits", zip(names, gradients))},
          configuration=json.loads(config.to_json_string(use_diff=False)), parameters=stored_names(model, names))


def bert(folder, **sizes):
    config = transformers.BertConfig(attn_implementation="eager", **sizes)
    model = fill(transformers.BertModel(config)).eval()
    sequences = [[2, 17, 33, 41, 9, 3], [2, 58, 3], [2] + list(range(20, 34)) + [3]]
    types = [[0, 0, 0, 1, 1, 1], [0, 0, 0], [0] * 9 + [1] * 7]
    if not sizes:
        sequences.append([101] + [1000 + 41 * k for k in range(config.max_position_embeddings - 2)] + [102])
        types.append([0] * 300 + [1] * (config.max_position_embeddings - 300))
    hidden, pooled = [], []
    for ids, kinds in zip(sequences, types):
        result = model(torch.tensor([ids]), token_type_ids=torch.tensor([kinds]))
        hidden.append(result.last_hidden_state[0])
        pooled.append(result.pooler_output[0])
    pooled = torch.stack(pooled)
    weights = torch.from_numpy(spread(pooled.numel(), 7).reshape(pooled.shape)).double()
    parameters = list(model.named_parameters())
    gradients = torch.autograd.grad((pooled * weights).sum(), [p for _, p in parameters])
    names = [n for n, _ in parameters]
    write(folder, {"hidden": torch.cat(hidden), "pooled": pooled, **summaries("pooled", zip(names, gradients))},
          configuration=json.loads(config.to_json_string(use_diff=False)), parameters=stored_names(model, names),
          sequences=sequences, types=types)


def stored_names(model, names):
    """Names and shapes as `save_pretrained` writes them, in the order of the parameters."""
    import tempfile

    from safetensors import safe_open
    with tempfile.TemporaryDirectory() as folder:
        # Values drawn by module name: those of the files must be the same tensors.
        model.save_pretrained(folder)
        with safe_open(folder + "/model.safetensors", "pt") as file:
            by_values = {k: file.get_tensor(k) for k in file.keys()}
        result = []
        for name, parameter in zip(names, model.parameters()):
            found = [k for k, v in by_values.items() if v.shape == parameter.shape and torch.equal(v, parameter.data)]
            assert len(found) == 1, (name, found)
            result.append({"name": found[0], "drawn": name, "shape": list(parameter.shape)})
        return result


WRITTEN = [
    "", " ", "Hello, world!", "unaffable", "It's 9 o'clock; don't   panic...", "ÀÉÎÕÜ àéîõü ñ ç Ø ø Å ß ẞ", "naïve café résumé",
    "e\u0301 n\u0303 a\u030a\u0323 o\u0323\u0302 \u0301x", "İstanbul ıI İi", "ΑΣ ΣΑΣ σς Ὀδυσσεύς", "Ёлка и йод", "ﬁ ﬂ ½ ² ℌ ①",
    "中文字符 and English混合", "日本語のテスト カタカナ ｶﾀｶﾅ", "한국어 토큰 가각힣", "ภาษาไทย น้ำ", "हिन्दी क्षत्रिय", "العَرَبِيَّة 123",
    "עִבְרִית", "emoji 😀👍🏽 👩‍👩‍👧 🇩🇪", "tab\tnew\nline\r\nend\u00a0nbsp\u2003em\u3000ideographic\u2028ls\u2029ps\u0085nel\u000bvt",
    "zero\u200bwidth\u200c\u200d\ufeffjoin\u2060er", "control\u0001\u0007\u001f\u007f\u009fs", "nul\u0000l and \ufffd replaced",
    "private \ue000\U000f0000 use", "[CLS] text [SEP] [MASK]s [UNK] [PAD] [cls] [ CLS ]", "a[MASK]b[SEP][SEP]", "#hash ##double ##ing",
    "$100 + €50 = £? ^_^ `x` <a|b> ~", "«quotes» “curly” ‘single’ ‹x› „low“", "dash-dash–en—em―bar ‐ ‑ −", "…‥· • ‽ ⁇ ¿¡",
    "x" * 99, "x" * 100, "x" * 101, "é" * 100, "中" * 101, "a" * 60 + "!" + "b" * 60, "e\u0301" * 60, "supercalifragilisticexpialidocious",
    "UPPER lower MiXeD", "㐀䶵 𠀀 𪛖 𪜀 𫜴 𫝀 𫠝 𫠠 𬺡 豈 丽", "ᜀ᜴ 𑜞 ᢅᢆ ꦽ 𑇉 ᙭ ؝ \u0890x\u08e2 ߽ \u0897 𑤸", "Ⅷ ⅷ Ⓐ ⓐ Ǆ ǅ ǆ", "ÅÅÅ K Ω", "1,234.56e-7 3.14 v2.0.1",
    "http://example.org/a_b?c=d&e=%20f#g", "user@example.com", "C++ C# .NET", "ʼn ǰ ΐ և ẖ", "a\u0300\u0316\u0327b", "\u3099\u309a か\u3099 は\u309a",
    "Ⴀⴀ Ꭰꭰ 𐐀𐐨 𞤀𞤢", "\u1100\u1161\u11a8 각", "क\u093c \u0958", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "\u00adsoft\u00adhyphen", "ᾳ ᾼ ῼ", "ſ ẛ̣",
]


def strings():
    """The written strings, and drawn ones from blocks where something is special."""
    draw = random.Random(5)
    blocks = [(0x20, 0x7F), (0xA0, 0x180), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0x980), (0xE00, 0xE80),
              (0x1100, 0x1200), (0x1E00, 0x2070), (0x20D0, 0x2100), (0x3000, 0x3100), (0x4E00, 0x4F00), (0xAC00, 0xAD00),
              (0xFE00, 0x10000), (0x1D160, 0x1D1B0), (0x1F600, 0x1F650), (0x20000, 0x20010)]
    drawn = []
    for _ in range(60):
        low, high = draw.choice(blocks)
        other = draw.choice(blocks)
        text = "".join(
            chr(draw.randrange(*(other if draw.random() < 0.3 else (low, high)))) if draw.random() < 0.85 else " "
            for _ in range(draw.randrange(3, 16)))
        drawn.append("".join(c for c in text if not 0xD800 <= ord(c) < 0xE000))
    return WRITTEN + drawn


def wordpiece(folder):
    folder.mkdir(parents=True, exist_ok=True)
    texts = strings()
    trainer = BertWordPieceTokenizer(lowercase=True)
    cased = BertWordPieceTokenizer(lowercase=False)
    common = ["the of and to in is it that for on with as are this be at by from or an not have you", " ".join(WRITTEN)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    for trained, size in [(trainer, 620), (cased, 560)]:
        trained.train_from_iterator(common * 3, vocab_size=size, min_frequency=1, limit_alphabet=330, show_progress=False)
        pieces += [p for p, _ in sorted(trained.get_vocab().items(), key=lambda x: x[1]) if p not in pieces]
    # Long runs would fill the vocabulary with runs of one letter.
    pieces = [p for p in pieces if len(p) < 24]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    kinds = {
        "uncased": {"do_lower_case": True}, "cased": {"do_lower_case": False},
        "accents": {"do_lower_case": True, "strip_accents": False}, "bare": {"do_lower_case": False, "strip_accents": True},
        "joined": {"do_lower_case": True, "tokenize_chinese_chars": False}}
    result = {"kinds": kinds, "texts": texts, "ids": {}, "decoded": []}
    for kind, options in kinds.items():
        tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"), **options)
        result["ids"][kind] = [tokenizer(t)["input_ids"] for t in texts]
        if kind == "uncased":
            backend = tokenizer.backend_tokenizer
            result["decoded"] = [backend.decode(i, skip_special_tokens=True) for i in result["ids"][kind]]
            result["places"] = [tokenizer(t, return_offsets_mapping=True)["offset_mapping"] for t in texts[:45]]
            file = json.loads(backend.to_str())
            file["model"]["vocab"] = {}
            (folder / "tokenizer.json").write_text(json.dumps(file, ensure_ascii=False, separators=(",", ":")) + "\n")
    unknown = sum(i == 1 for ids in result["ids"]["uncased"] for i in ids)
    print(len(pieces), "pieces,", len(texts), "strings,", unknown, "unknown words")
    (folder / "cases.json").write_text(json.dumps(result, ensure_ascii=True, separators=(",", ":")) + "\n")


def main():
    torch.manual_seed(0)
    if sys.argv[1] == "--full":
        vit(pathlib.Path(sys.argv[2]) / "vit")
        bert(pathlib.Path(sys.argv[2]) / "bert")
        return
    root = pathlib.Path(sys.argv[1]) / "encoders"
    resnet(root / "resnet18")
    vit(root / "vit", image_size=20, patch_size=5, **SMALL)
    bert(root / "bert", vocab_size=60, max_position_embeddings=16, **SMALL)
    wordpiece(root / "wordpiece")


if __name__ == "__main__":
    main()
