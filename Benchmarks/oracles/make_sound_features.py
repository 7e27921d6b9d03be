"""Reference values of the sound features of packed data sets, by torchaudio and librosa.

    python make_sound_features.py ../../Tests/Fixtures/sound_features.safetensors

Written with torchaudio 2.11.0, librosa 0.11.0 and NumPy 2.4.6. The signal is made by the same formula in the tests, so the
file holds results only. `torchaudio.compliance.kaldi.fbank` runs in float64; its mel filters are float32. librosa pads with
zeros by default since 0.10: `pad_mode="reflect"` is what it did when the recipe was published.
"""

import sys

import librosa
import numpy as np
import torch
import torchaudio
from safetensors.numpy import save_file


def signal(count, rate):
    """Two tones and noise of a linear congruential generator, float64."""
    state, noise = 12345, np.empty(count)
    for index in range(count):
        state = (1103515245 * state + 12345) % (1 << 31)
        noise[index] = state / (1 << 31) - 0.5
    time = np.arange(count) / rate
    return 0.4 * np.sin(2 * np.pi * 440 * time) + 0.2 * np.sin(2 * np.pi * 1730 * time + 0.5) + 0.1 * noise + 0.03


def filter_bank(frames):
    waveform = torch.tensor(signal(4000, 16000))[None]
    waveform = waveform - waveform.mean()
    fbank = torchaudio.compliance.kaldi.fbank(
        waveform, htk_compat=True, sample_frequency=16000, use_energy=False, window_type="hanning", num_mel_bins=128,
        dither=0.0, frame_shift=10)
    missing = frames - fbank.shape[0]
    fbank = torch.nn.functional.pad(fbank, (0, 0, 0, missing)) if missing > 0 else fbank[:frames]
    return ((fbank + 4.503877) / (2 * 5.141276)).to(torch.float32).numpy()


def spectrogram(seconds):
    samples = signal(1500, 22050) * 2.2
    samples = np.tile(samples, 10)[: int(22050 * seconds)]
    samples[samples > 1.0] = 1.0
    samples[samples < -1.0] = -1.0
    stft = librosa.stft(samples, n_fft=512, hop_length=353, pad_mode="reflect")
    # librosa gives the columns one after the other; the file wants rows.
    return np.ascontiguousarray(np.log(np.abs(stft) + 1e-7).astype(np.float32))


tensors = {"fbank.padded": filter_bank(26), "fbank.cut": filter_bank(8), "log_stft": spectrogram(0.3)}
for name, tensor in tensors.items():
    print(name, tensor.shape, float(tensor.min()), float(tensor.max()))
save_file(
    tensors, sys.argv[1],
    metadata={"torchaudio": torchaudio.__version__, "librosa": librosa.__version__, "numpy": np.__version__})
