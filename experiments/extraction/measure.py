"""How fast extraction is against the usual way, with the same models of random weights, in one run.

python experiments/extraction/measure.py CLIPS    (a folder with a few videos of faces)

Times are of the processor, with one thread, so that they hold on a machine that does other work besides.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir

from mer_lightning.config.compose import checked, conf_folder, register
from mer_lightning.config.extract import ExtractConfig, SpeechConfig
from mer_lightning.extract import windows
from mer_lightning.extract.clips import Clip, all_clips
from mer_lightning.extract.detectors import make_detector
from mer_lightning.extract.faces import read_faces
from mer_lightning.extract.frames import FrameEncoder
from mer_lightning.extract.manet import MANet, plain
from mer_lightning.extract.media import read_frames
from mer_lightning.extract.pipeline import Pipeline
from mer_lightning.extract.speech import make

LAYERS = [18, 19, 20]
CPU = torch.device("cpu")


def seconds(work: Callable[[], Any], repeats: int = 2) -> float:
    """The least processor time of the repeats."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def save_hubert(folder: Path, width: int, layers: int = 24) -> None:
    """The shape of HuBERT-large but for its width."""
    from transformers import HubertConfig as Shape
    from transformers import HubertModel

    shape = Shape(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64), conv_dim=(min(width, 512),) * 7, feat_extract_norm="layer",
        do_stable_layer_norm=True, conv_bias=True,
    )  # fmt: skip
    torch.manual_seed(0)
    HubertModel(shape).save_pretrained(folder)


def speech(folder: Path) -> list[tuple[str, float]]:
    """One clip a forward, all layers, a pass per layer set; then each saving added to those before."""
    from transformers import AutoModel

    rng = np.random.default_rng(0)
    clips = [rng.normal(size=int(s * 16_000)).astype(np.float32) for s in rng.uniform(2, 10, 12)]
    whole = AutoModel.from_pretrained(folder).eval()

    def usual(passes: int) -> None:
        with torch.inference_mode():
            for _ in range(passes):
                for clip in clips:
                    whole(torch.from_numpy(clip)[None], output_hidden_states=True)

    def ours(batch: float, one_by_one: tuple[str, ...]) -> Callable[[], Any]:
        windows.NO_BATCHES = one_by_one
        settings = SpeechConfig(model=str(folder), layers=LAYERS, batch_seconds=batch)
        encoder = make("hubert", settings, CPU, torch.float32)
        return lambda: encoder.encode(clips)

    return [
        ("one clip a forward, all 24 layers, three passes", seconds(lambda: usual(3), 1)),
        ("one pass for the three layers", seconds(lambda: usual(1))),
        ("cut after layer 20: what a CPU gets", seconds(ours(60.0, ("cpu",)))),
        ("batches of 60 padded seconds: what a GPU gets, here on the CPU", seconds(ours(60.0, ()))),
    ]


def faces(clips: list[Clip], settings: ExtractConfig) -> list[tuple[str, float]]:
    """Decoding, detection and MA-Net on every frame of one clip after the other; then each saving added."""
    torch.manual_seed(0)
    encoder = FrameEncoder(MANet(), {"manet": {}}, device=CPU, dtype=torch.float32, batch=64, prepare=plain)
    detector = make_detector(settings.faces.detector)

    def crops(fps: float) -> list[Any]:
        margin = settings.faces.margin
        found = [read_faces(read_frames(clip.path, fps), margin, detector).crops for clip in clips]
        return [c for c in found if len(c)]

    def alone(fps: float, size: int) -> None:
        for c in crops(fps):
            for i in range(0, len(c), size):
                encoder.encode([c[i : i + size]])

    few = settings.faces.fps
    return [
        ("every frame, a face a forward", seconds(lambda: alone(1000, 1), 1)),
        (f"{few:g} frames a second, a face a forward", seconds(lambda: alone(few, 1))),
        ("a clip's faces in one batch", seconds(lambda: alone(few, 64))),
        ("faces of several clips in one batch", seconds(lambda: encoder.encode(crops(few)))),
    ]


def memory(
    clips: list[Clip], model: Path, settings: ExtractConfig, count: int = 200
) -> list[tuple[int, float]]:
    """Resident megabytes after so many clips of the whole pipeline."""
    many = [Clip(c.utterance._replace(id=f"{c.id}_{i}"), c.path) for i in range(count) for c in clips][:count]
    speech = SpeechConfig(model=str(model), layers=[1])
    small = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(8), torch.nn.Flatten())
    look = FrameEncoder(small, {"small": {}}, device=CPU, dtype=torch.float32, batch=64, prepare=plain)
    found: list[tuple[int, float]] = []
    done = 0
    for batch in Pipeline([make("hubert", speech, CPU, torch.float32), look], settings).run(many):
        done += len(batch)
        if done >= count * (len(found) + 1) // 4:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            found.append((done, pages * os.sysconf("SC_PAGE_SIZE") / 1e6))
    return found


def table(title: str, steps: list[tuple[str, float]]) -> str:
    """Each step's time, and how many times faster it is than the step before and the first."""
    lines = [f"| {title} | s | times faster than before | than the first |", "|---|---:|---:|---:|"]
    for i, (what, time_taken) in enumerate(steps):
        before = f"{steps[i - 1][1] / time_taken:.2f}" if i else ""
        lines.append(f"| {what} | {time_taken:.1f} | {before} | {steps[0][1] / time_taken:.2f} |")
    return "\n".join(lines) + "\n"


def main(folder: Path) -> None:
    """All measurements, as Markdown."""
    torch.set_num_threads(1)
    register()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        settings = checked(compose("config", [])).extract
    clips = all_clips(folder)
    with tempfile.TemporaryDirectory() as made:
        save_hubert(Path(made) / "hubert", width=512)
        print(
            table("Speech: HuBERT of 24 layers, 12 clips of 2 to 10 s", speech(Path(made) / "hubert")),
            flush=True,
        )
        print(table(f"Faces: MA-Net, {len(clips)} videos", faces(clips, settings)), flush=True)
        save_hubert(Path(made) / "small", width=64, layers=2)
        print("| clips done | resident MB |\n|---:|---:|")
        for done, megabytes in memory(clips, Path(made) / "small", settings):
            print(f"| {done} | {megabytes:.0f} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
