"""Makes Tests/Fixtures/whole_folders: for some families the files that a folder on the Hub has beside the weights, a picture
or a sound, and what transformers answers to a question about it.

    python make_whole_folders.py FIXTURES [FAMILY ...]

FIXTURES is Tests/Fixtures; configuration and weights are those of its folders idefics3, smolvlm, qwen2_audio, llava,
llava_next and qwen2_5_vl, the chat templates those of its chat_templates. Needs torch, transformers, tokenizers,
safetensors, numpy, pillow, num2words. Float32, eager attention, greedy; images by the processors that use Pillow.

The tokenizers are byte-level with just the characters of the questions and some merges, so that the special tokens of a
family fit into the vocabulary of a tiny model.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import wave

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

STEPS = 12
KNOWN = {"input_ids", "attention_mask", "pixel_values", "pixel_attention_mask", "image_grid_thw", "image_sizes",
         "input_features", "feature_attention_mask", "mm_token_type_ids"}
QUESTION = "What is in it, and where?"
TEXT = """What is in it, and where? What are you looking at? Where is the other one? It is in the middle of the picture.
How many things are there in this picture, and what colour are they? Describe what you hear in this sound, please.
User: Assistant: system user assistant You are a helpful assistant. Audio 1: The one on the left is larger than this.
Once there was a small house beside a wide river, and every morning someone opened its green door to look at the boats."""
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def tokenizer(size, named, pattern, normalizer=None):
    """A byte-level tokenizer of `size` pieces; `named` has the ids of special tokens, from the front or from the back."""
    named = {(i if i >= 0 else size + i): word for i, word in named.items()}
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    trainer = trainers.BpeTrainer(vocab_size=size - len(named), initial_alphabet=[
        c for c in map(chr, range(33, 127))] + ["\u0120", "\u010a"], show_progress=False)
    trained.train_from_iterator([TEXT], trainer)
    file = json.loads(trained.to_str())
    pieces = sorted(file["model"]["vocab"], key=file["model"]["vocab"].get)
    vocabulary, rest = {}, iter(pieces)
    for index in range(size):
        word = named.get(index) or next(rest, None)
        assert word is not None, f"only {len(pieces)} pieces"
        vocabulary[word] = index
    file["model"]["vocab"] = vocabulary
    file["model"]["merges"] = [m for m in file["model"]["merges"] if "".join(m) in vocabulary]
    file["added_tokens"] = [
        {"id": i, "content": word, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for i, word in sorted(named.items())]
    file["normalizer"] = normalizer
    file["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    return file


def picture(height, width):
    y, x = np.mgrid[0:height, 0:width]
    planes = [128 + 100 * np.sin(0.13 * (c + 1) * x + 0.09 * y + 2 * c) for c in range(3)]
    noise = np.random.default_rng(7).normal(0, 12, (height, width, 3))
    return Image.fromarray(np.clip(np.stack(planes, -1) + noise, 0, 255).astype(np.uint8))


def sound(seconds, rate=16_000):
    t = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(8).normal(0, 0.02, t.shape)
    wave_ = 0.4 * np.sin(2 * np.pi * (300 + 900 * t) * t) * (t > 0.1) + noise
    return np.clip(np.round(wave_ * 32768), -32768, 32767).astype("<i2")


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def idefics(kind):
    smol = kind == "smolvlm"
    size = 200 if smol else 240
    grid = [f"<row_{r}_col_{c}>" for r in (1, 2) for c in (1, 2, 3)]
    high = ["<fake_token_around_image>", "<end_of_utterance>", "<global-img>"] + grid
    begin = "<|im_start|>" if smol else "<|begin_of_text|>"
    named = {0: "<|pad|>", 1: begin, 2: "<|end_of_text|>", -1: "<image>"}
    named |= {-2 - i: word for i, word in enumerate(high)}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": begin, "eos_token": "<end_of_utterance>",
        "pad_token": "<|pad|>", "processor_class": "SmolVLMProcessor" if smol else "Idefics3Processor",
    }
    image = {
        "do_convert_rgb": True, "do_image_splitting": True, "do_normalize": True, "do_pad": True, "do_rescale": True,
        "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "max_image_size": {"longest_edge": 24},
        "image_processor_type": "SmolVLMImageProcessor" if smol else "Idefics3ImageProcessor", "resample": 1,
        "rescale_factor": 0.00392156862745098, "size": {"longest_edge": 72},
    }
    if smol:
        image["video_sampling"] = {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 48}}
    return {
        "tokenizer": tokenizer(size, named, LLAMA3), "tokenizer_config": config, "preprocessor_config": image,
        "processor_config": {"image_seq_len": 4 if smol else 9, "processor_class": config["processor_class"]},
        "picture": (38, 60),
    }


def qwen_audio():
    named = {
        1: "<|endoftext|>", 2: "<|im_end|>", 0: "<|im_start|>", -1: "<|AUDIO|>", -2: "<|audio_bos|>", -3: "<|audio_eos|>"}
    return {
        "tokenizer": tokenizer(220, named, QWEN, {"type": "NFC"}),
        "tokenizer_config": {
            "tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>", "unk_token": None},
        "preprocessor_config": {
            "chunk_length": 1, "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 20,
            "hop_length": 266, "n_fft": 400, "n_samples": 16000, "nb_max_frames": 60, "padding_side": "right",
            "padding_value": 0.0, "processor_class": "Qwen2AudioProcessor", "return_attention_mask": True,
            "sampling_rate": 16000},
        "processor_config": None, "sound": 0.71,
    }


def qwen_2_5():
    named = {-1: "<|video_pad|>", -2: "<|image_pad|>", -3: "<|vision_end|>", -4: "<|vision_start|>",
             0: "<|endoftext|>", 1: "<|im_start|>", 2: "<|im_end|>"}
    return {
        "tokenizer": tokenizer(260, named, QWEN, {"type": "NFC"}),
        "tokenizer_config": {
            "tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>", "unk_token": None},
        "preprocessor_config": {
            "min_pixels": 256, "max_pixels": 2304, "patch_size": 4, "temporal_patch_size": 2, "merge_size": 2,
            "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
            "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor"},
        "processor_config": None, "picture": (41, 67),
    }


FAMILIES = {
    "idefics3": lambda: idefics("idefics3"), "smolvlm": lambda: idefics("smolvlm"), "qwen2_audio": qwen_audio,
    "qwen2_5_vl": qwen_2_5, "llava": lambda: {"picture": (38, 60)}, "llava_next": lambda: {
        "picture": (38, 60), "processor_config": {
            "image_token": "<image>", "num_additional_image_tokens": 1, "patch_size": 7,
            "processor_class": "LlavaNextProcessor", "vision_feature_select_strategy": "default"}},
}
TEMPLATES = {"llava": "llava_1_5", "llava_next": "llava_next_vicuna"}


def answer(model, inputs):
    """Ids and their log-probabilities, greedily, without an end."""
    with torch.no_grad():
        out = model.generate(
            **inputs, max_new_tokens=STEPS, min_new_tokens=STEPS, do_sample=False, eos_token_id=-1, pad_token_id=0,
            return_dict_in_generate=True, output_logits=True)
    ids = out.sequences[0, inputs["input_ids"].shape[1]:].tolist()
    logs = [torch.log_softmax(step[0].double(), -1)[i].item() for step, i in zip(out.logits, ids)]
    return ids, [round(v, 6) for v in logs]


def frames(path):
    """The frames of a lossless video, its rate and its length."""
    width, height, rate = 47, 31, 5
    raw = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    pixels = np.frombuffer(raw.stdout, np.uint8).reshape(-1, height, width, 3)
    return pixels, {"total_num_frames": len(pixels), "fps": rate, "duration": len(pixels) / rate,
                    "frames_indices": list(range(len(pixels))), "width": width, "height": height}


def video_case(fixtures, processor, model):
    """SmolVLM2: a question about Tests/Fixtures/media_files/frames.mkv."""
    pixels, metadata = frames(fixtures / "media_files" / "frames.mkv")
    messages = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": QUESTION}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(
        text=[text], videos=[[pixels]], video_metadata=[[metadata]], do_sample_frames=True, return_tensors="pt",
        add_special_tokens=False)
    inputs = {k: v for k, v in inputs.items() if k in KNOWN}
    ids, logs = answer(model, inputs)
    return {"prompt": inputs["input_ids"][0].tolist(), "generated": ids, "log_probabilities": logs}


def make(fixtures, family):
    target = fixtures / "whole_folders" / family
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    parts = FAMILIES[family]()
    template = json.loads((fixtures / "chat_templates" / "cases.json").read_text())["templates"]
    (target / "chat_template.jinja").write_text(template[TEMPLATES.get(family, family)])
    for name in ["tokenizer", "tokenizer_config", "preprocessor_config", "processor_config"]:
        if parts.get(name):
            write(target / f"{name}.json", parts[name])
    if family == "llava_next":
        shutil.copy(fixtures / "llava" / "tokenizer.json", target)
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        for source in [fixtures / family, target]:
            for file in source.iterdir():
                if "expected" not in file.name and "case" not in file.name and "transformers5" not in file.name:
                    shutil.copy(file, folder / file.name)
        processor = transformers.AutoProcessor.from_pretrained(folder, use_fast=False)
        model = transformers.AutoModelForImageTextToText if family != "qwen2_audio" else (
            transformers.Qwen2AudioForConditionalGeneration)
        model = model.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    kind = "audio" if family == "qwen2_audio" else "image"
    item = {"type": kind} | ({"audio_url": "sound.wav"} if kind == "audio" else {})
    messages = [{"role": "user", "content": [item, {"type": "text", "text": QUESTION}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    if kind == "audio":
        samples = sound(parts["sound"])
        with wave.open(str(target / "sound.wav"), "wb") as file:
            file.setnchannels(1), file.setsampwidth(2), file.setframerate(16_000), file.writeframes(samples.tobytes())
        inputs = processor(
            text=text, audio=[samples.astype(np.float32) / 32768], sampling_rate=16_000, return_tensors="pt")
    else:
        image = picture(*parts["picture"])
        image.save(target / "picture.ppm")
        begin = processor.tokenizer.bos_token
        more = {"add_special_tokens": False} if begin and text.startswith(begin) else {}
        inputs = processor(text=[text], images=[[image]], return_tensors="pt", **more)
    inputs = {k: v for k, v in inputs.items() if k in KNOWN}
    ids, logs = answer(model, inputs)
    more = {"video": video_case(fixtures, processor, model)} if family == "smolvlm" else {}
    write(target / "case.json", {
        "what": f"transformers {transformers.__version__}: AutoProcessor (Pillow), chat template, greedy generation, float32, eager "
        f"attention, with the weights of {family}",
        "question": QUESTION, "prompt": inputs["input_ids"][0].tolist(), "generated": ids, "log_probabilities": logs,
        **more,
    })
    print(family, len(inputs["input_ids"][0]), "prompt ids;", ids)


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    for family in sys.argv[2:] or FAMILIES:
        make(pathlib.Path(sys.argv[1]), family)
