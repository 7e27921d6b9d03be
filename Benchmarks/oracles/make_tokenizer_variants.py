"""Makes Tests/Fixtures/tokenizer_variants/cases.json: what the tokenizers library makes of random texts with every step and
setting that mmprobe reads from a tokenizer.json.

    python make_tokenizer_variants.py HF_TOKENIZERS OUTPUT [TEXTS [SEED]]

HF_TOKENIZERS is Tests/Fixtures/hf_tokenizers: a variant is one of its files with some parts replaced. For each text: ids,
pieces and the decoded text with and without special tokens, without the ids of the post-processor and with them.
"""

import json
import pathlib
import random
import sys

import tokenizers
from tokenizers import Tokenizer

QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
BYTES_DECODER = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


def split(pattern, behavior="Isolated", invert=False, regex=True):
    return {"type": "Split", "pattern": {"Regex" if regex else "String": pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def metaspace(scheme, split_=True, mark="\u2581"):
    return {"type": "Metaspace", "replacement": mark, "prepend_scheme": scheme, "split": split_}


def added(content, **flags):
    values = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"content": content, **values, **flags}


def variants():
    """Name, base, replaced parts, replaced parts of the model, more added tokens."""
    yield "bytes_no_regex", "gpt2", {"pre_tokenizer": BYTES}, {}, []
    yield "bytes_prefix_space", "gpt2", {"pre_tokenizer": {**BYTES, "add_prefix_space": True, "use_regex": True}}, {}, []
    yield "bytes_prefix_no_regex", "gpt2", {"pre_tokenizer": {**BYTES, "add_prefix_space": True}}, {}, []
    yield "bytes_nothing", "gpt2", {"pre_tokenizer": None, "decoder": None}, {}, []
    for name, pattern in [("qwen", QWEN), ("llama3", LLAMA3), ("gpt2", GPT2)]:
        yield f"pattern_{name}", "gpt2", {"pre_tokenizer": sequence(split(pattern), BYTES)}, {}, []
        yield f"pattern_{name}_removed", "gpt2", {
            "pre_tokenizer": sequence(split(pattern, "Removed", True), BYTES)}, {}, []
    for behavior in ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
        for invert in [False, True]:
            yield f"split_{behavior}_{invert}", "gpt2", {
                "pre_tokenizer": sequence(split(" ", behavior, invert, False), BYTES)}, {}, []
    yield "split_two_letters", "gpt2", {"pre_tokenizer": sequence(split("ab", "Isolated", False, False), BYTES)}, {}, []
    yield "digits", "gpt2", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": False}, BYTES)}, {}, []
    yield "digits_individual", "gpt2", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, BYTES)}, {}, []
    yield "digits_pattern", "gpt2", {
        "pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, split(QWEN), BYTES)}, {}, []
    yield "nfc", "gpt2", {"normalizer": {"type": "NFC"}}, {}, []
    yield "normalizers", "gpt2", {"normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"String": "ab"}, "content": "b"}, {"type": "Prepend", "prepend": "x"},
        {"type": "NFC"}]}}, {}, []
    yield "replace_with_nothing", "gpt2", {
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": ""}}, {}, []
    yield "prepend", "gpt2", {"normalizer": {"type": "Prepend", "prepend": "_"}}, {}, []
    yield "ignore_merges", "gpt2", {}, {"ignore_merges": True}, []
    for scheme in ["first", "always", "never"]:
        for whole in [True, False]:
            parts = {
                "normalizer": None, "pre_tokenizer": metaspace(scheme, whole),
                "decoder": {k: v for k, v in metaspace(scheme, whole).items()}}
            yield f"metaspace_{scheme}_{whole}", "llama2_hub_style", parts, {}, []
    yield "metaspace_letter", "llama2_hub_style", {
        "normalizer": None, "pre_tokenizer": metaspace("always", True, "_"), "decoder": metaspace("always", True, "_")}, {}, []
    yield "metaspace_digits", "llama2_hub_style", {
        "normalizer": None, "pre_tokenizer": sequence(
            metaspace("first"), {"type": "Digits", "individual_digits": True})}, {}, []
    yield "no_fallback", "llama2_hub_style", {}, {"byte_fallback": False}, []
    yield "no_fallback_fused", "llama2_hub_style", {}, {"byte_fallback": False, "fuse_unk": True}, []
    yield "fallback_unfused", "llama2_hub_style", {}, {"fuse_unk": False}, []
    yield "no_unknown", "llama2_hub_style", {}, {"byte_fallback": False, "unk_token": None}, []
    yield "no_decoder", "llama2_hub_style", {"decoder": None}, {}, []
    for name, steps in [
        ("fuse", [{"type": "Fuse"}]), ("fallback", [{"type": "ByteFallback"}]),
        # With both, the library fails on pieces that are nothing but the mark.
        ("strip", [{"type": "Strip", "content": "\u2581", "start": 1, "stop": 0}]),
        ("strip_end", [{"type": "Strip", "content": "\u2581", "start": 0, "stop": 1}]),
        ("strip_fused", [{"type": "Fuse"}, {"type": "Strip", "content": "a", "start": 2, "stop": 0}]),
        ("replace", [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": "--"}]),
        ("replace_fused", [{"type": "Fuse"}, {"type": "Replace", "pattern": {"String": "aa"}, "content": ""}]),
        ("fallback_fused", [{"type": "ByteFallback"}, {"type": "Fuse"}, metaspace("always")]),
        ("fused_fallback", [{"type": "Fuse"}, {"type": "ByteFallback"}]),
        ("bytes", [BYTES_DECODER]),
    ]:
        decoder = steps[0] if len(steps) == 1 else {"type": "Sequence", "decoders": steps}
        yield f"decoder_{name}", "llama2_hub_style", {"decoder": decoder}, {}, []
    for base in ["gpt2", "llama2_hub_style", "llama_metaspace_first"]:
        for flag in ["lstrip", "rstrip", "single_word", "normalized"]:
            yield f"added_{flag}_{base}", base, {}, {}, [added("<x>", **{flag: True}), added("ab", **{flag: True})]
        yield f"added_all_{base}", base, {}, {}, [
            added("<x>", lstrip=True, rstrip=True, single_word=True, normalized=True, special=False),
            added("<x>y", normalized=True, special=False), added("b c", lstrip=True), added(" b", normalized=True)]
    yield "added_normalized", "gpt2", {"normalizer": {"type": "NFC"}}, {}, [
        added("e\u0301", normalized=True, special=False), added("\u00e9a", special=False)]
    yield "added_prepended", "llama2_hub_style", {}, {}, [added("a b", normalized=True, special=False)]


ALPHABET = (
    list("abcdeABtrsSTxy  \u2581_'.,!?-019") + [
        " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u200d", "e\u0301", "\u00e9", "\u0301", "\u017f", "\u1e9e", "\u4e2d", "\u6587",
        "\u0661", "\u00bd", "\u2167", "\U0001f600", "\U0001f468\u200d\U0001f469", "\uac00", "\u1100\u1161", "\ufb01", "\u05d0", "\u0928\u093f", "\u0000",
        "<x>", "<x>y", "ab", "b c", "a b", "'s", "'LL", "'re", "<s>", "</s>", "<0x41>", "<|endoftext|>", "123", "12345",
        "the", " the", "hello", " world",
    ]
)


def texts(count, seed):
    source = random.Random(seed)
    result = ["", " ", "a", "<x>", " <x> "]
    while len(result) < count:
        result.append("".join(source.choice(ALPHABET) for _ in range(source.randrange(1, 14))))
    return result[:count]


def rows(tokenizer, count, seed):
    for text in texts(count, seed):
        plain, full = (tokenizer.encode(text, add_special_tokens=value) for value in (False, True))
        yield {
            "text": text, "ids": plain.ids, "tokens": [tokenizer.id_to_token(i) for i in plain.ids], "full": full.ids,
            "decoded": tokenizer.decode(full.ids, skip_special_tokens=False),
            "skipped": tokenizer.decode(full.ids, skip_special_tokens=True),
        }


def main():
    folder, output = map(pathlib.Path, sys.argv[1:3])
    count, seed = (int(value) for value in (sys.argv[3:] + ["24", "1"][len(sys.argv) - 3:]))
    cases = []
    for number, (name, base, parts, model, more) in enumerate(variants()):
        file = json.loads((folder / base / "tokenizer.json").read_text())
        file |= parts
        file["model"] |= model
        free = max([*file["model"]["vocab"].values(), *(t["id"] for t in file["added_tokens"])]) + 1
        for token in more:
            known = file["model"]["vocab"].get(token["content"])
            file["added_tokens"].append({"id": free if known is None else known, **token})
            free += known is None
        tokenizer = Tokenizer.from_str(json.dumps(file))
        cases.append({
            "name": name, "base": base, "parts": {**parts, "added_tokens": file["added_tokens"]}, "model": model,
            "rows": list(rows(tokenizer, count, seed + 1000 * number)),
        })
    document = {"tokenizers": tokenizers.__version__, "cases": cases}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, ensure_ascii=True, separators=(",", ":")) + "\n")
    print(len(cases), "variants,", sum(len(case["rows"]) for case in cases), "texts,", output.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
