"""A page to drop a clip into: emotion, valence, the weight of each branch, the faces looked at."""

import mimetypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mer_lightning.config.aside import DemoConfig
from mer_lightning.errors import UserError
from mer_lightning.extract.clips import MEDIA, all_clips
from mer_lightning.extract.media import duration
from mer_lightning.extract.pipeline import Pipeline, collect
from mer_lightning.results.predictor import Predictor

CROPS = 12  # faces shown
CAVEAT = "Emotion recognised from faces and voices is uncertain: a guess, not a fact about a person."


class Explanation(NamedTuple):
    """What the page shows of a clip."""

    posterior: dict[str, float]  # emotion -> probability
    valence: float | None  # None: the model knows none
    weights: dict[str, float]  # branch -> how much it counted
    crops: list[NDArray[np.uint8]]  # (224, 224, 3) each, some of the faces looked at
    notes: list[str]  # what the clip lacks


@dataclass(frozen=True)
class Explainer:
    """A model, and the pipeline that makes its features of a clip."""

    predictor: Predictor
    pipeline: Pipeline
    limits: DemoConfig

    def __call__(self, path: Path) -> Explanation:
        """Decide on a clip. UserError for one that is too large or long, or cannot be read."""
        self.refuse_too_much(path)
        clip = all_clips(path)[0]
        decoded = self.pipeline.decoder()(clip)
        if decoded.failure:
            raise UserError(f"this clip cannot be used: {decoded.failure}")
        self.refuse_too_long(decoded.record.seconds)  # a header need not say, nor be right
        features = collect(self.pipeline.encode([decoded]))
        lacking = {
            name: np.full((1, dimension), np.nan, np.float32)
            for name, dimension in self.predictor.features.items()
            if name not in features
        }
        p = self.predictor.predict(features | lacking)
        crops = decoded.inputs.get("faces", np.empty((0, 224, 224, 3), np.uint8))
        some = sorted(set(np.linspace(0, len(crops) - 1, CROPS).astype(int).tolist())) if len(crops) else []
        return Explanation(
            dict(zip(self.predictor.classes, p.posterior[0].tolist(), strict=True)),
            float(p.valence[0]) if self.predictor.has_valence else None,
            dict(zip(self.predictor.branch_names, p.weights[0].tolist(), strict=True)),
            [crops[i] for i in some],
            decoded.record.notes,
        )

    def refuse_too_much(self, path: Path) -> None:
        """A UserError for what would keep the page busy for too long."""
        megabytes = path.stat().st_size / 1e6
        if megabytes > self.limits.max_megabytes:
            raise UserError(
                f"this clip has {megabytes:.1f} MB; at most {self.limits.max_megabytes:g} MB are taken"
            )
        self.refuse_too_long(duration(path) or 0)

    def refuse_too_long(self, seconds: float) -> None:
        """A UserError for a clip of more than ``max_seconds``."""
        if seconds > self.limits.max_seconds:
            raise UserError(
                f"this clip lasts {seconds:.1f} s; at most {self.limits.max_seconds:g} s are taken"
            )


def page(explain: Callable[[Path], Explanation], model: str) -> Any:
    """The page, a ``gradio.Blocks``. Its visitors' mistakes are answered among the notes.

    model: its name and version.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nothing is sent anywhere
    import gradio as gr

    def shown(file: str | None) -> tuple[Any, ...]:
        if file is None:
            return None, None, None, None, "Drop a clip in first."
        try:
            found = explain(Path(file))
        except UserError as error:
            return None, None, None, None, str(error)
        valence = "not known to this model" if found.valence is None else f"{found.valence:+.2f}"
        return found.posterior, valence, found.weights, found.crops, "; ".join(found.notes)

    def players(file: str | None) -> tuple[Any, ...]:
        sound = file is not None and (mimetypes.guess_type(file)[0] or "").startswith("audio")
        return (
            gr.Video(None if sound else file, visible=file is not None and not sound),
            gr.Audio(file if sound else None, visible=sound),
            *(None,) * 5,  # what was found in the clip before is not this one's
        )

    # The buttons by default have one that shares with a site elsewhere.
    with gr.Blocks(title="mer_lightning", analytics_enabled=False, delete_cache=(600, 600)) as blocks:
        gr.Markdown(
            f"# Emotion of a clip\nSpeech and face of one person; nothing leaves this machine. {CAVEAT}"
        )
        gr.Textbox(model, label="Model", interactive=False)
        with gr.Row():
            with gr.Column():
                clip = gr.File(label="Clip (video or sound)", file_types=list(MEDIA), file_count="single")
                video = gr.Video(label="Clip", visible=False, interactive=False, buttons=[])
                audio = gr.Audio(label="Clip", visible=False, interactive=False, buttons=[])
                button = gr.Button("Recognise", variant="primary")
                notes = gr.Textbox(label="Notes", interactive=False, lines=2)
            with gr.Column():
                emotion = gr.Label(label="Emotion")
                valence = gr.Textbox(label="Valence", interactive=False)
                weights = gr.Label(label="Weight of each branch")
        crops = gr.Gallery(
            label="The face that was used",
            columns=6,
            object_fit="contain",
            height="auto",
            buttons=["fullscreen"],
        )
        results = [emotion, valence, weights, crops, notes]
        clip.change(players, clip, [video, audio, *results], api_visibility="private")
        button.click(shown, clip, results, api_visibility="private")
    return blocks
