"""The page: what it shows of a clip, what it refuses, and that it is served to this machine alone."""

import json
import socket
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mer_lightning.config.aside import DemoConfig
from mer_lightning.errors import UserError
from mer_lightning.extract.pipeline import Pipeline
from mer_lightning.files.checksums import write_checksums
from mer_lightning.tasks.demo import described
from mer_lightning.tasks.demo_page import Explainer, Explanation, page
from tests.conftest import composed
from tests.extract.test_pipeline import Loudness, write_wav

DEMO = composed("task=demo", "model=x").demo


class Sure:
    """Stands in for a model of one branch."""

    classes = ("<script>", "sad")
    branch_names = ("loud",)
    features = {"loud": 2, "look": 3}  # noqa: RUF012
    has_valence = True

    def predict(self, features: dict[str, np.ndarray]) -> Any:
        self.given = features
        from mer_lightning.results.prediction import Prediction

        one = np.ones(1, np.float32)
        return Prediction(["sad"], np.array([[0.25, 0.75]], np.float32), 0.5 * one, one[:, None])


def explainer(**limits: Any) -> Explainer:
    pipeline = Pipeline([Loudness()], composed().extract)
    return Explainer(Sure(), pipeline, DemoConfig(**(vars(DEMO) | limits)))  # type: ignore[arg-type]


def test_what_it_shows(tmp_path: Path) -> None:
    explain = explainer()
    found = explain(write_wav(tmp_path / "clip.wav"))
    assert found.posterior == {"<script>": 0.25, "sad": 0.75}
    assert (found.valence, found.weights, found.crops) == (0.5, {"loud": 1.0}, [])
    given = explain.predictor.given  # type: ignore[attr-defined]
    assert given["loud"][0, 1] == 1600
    assert np.isnan(given["look"]).all()  # no encoder made it: missing


def test_what_it_refuses(tmp_path: Path) -> None:
    clip = write_wav(tmp_path / "clip.wav", seconds=2)
    with pytest.raises(UserError, match=r"lasts 2.0 s; at most 1 s"):
        explainer(max_seconds=1)(clip)
    with pytest.raises(UserError, match=r"0.1 MB; at most 0.01 MB"):
        explainer(max_megabytes=0.01)(clip)
    clip.write_text("no sound")
    with pytest.raises(UserError, match="cannot be used: not a media file"):
        explainer()(clip)


def test_a_model_is_called_by_its_run_and_its_files(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    said = {"classes": ["a"], "valence": True, "ensemble": "logit", "features": {}, "extractors": {}}
    text = json.dumps(said | {"networks": [], "origin": {"experiment": "pnao", "round": 3}})
    (tmp_path / "model" / "model.json").write_text(text)
    write_checksums(tmp_path / "model")
    name = described(tmp_path / "model", None)
    assert name.startswith("experiment pnao, round 3, fold all, version ")
    assert described(tmp_path / "model", 2) == name.replace("all", "2")
    (tmp_path / "model" / "model.json").write_text(text.replace("3", "4"))
    write_checksums(tmp_path / "model")
    assert described(tmp_path / "model", None).rpartition(" ")[2] != name.rpartition(" ")[2]


@pytest.mark.parametrize(("file", "shown"), [("a.mp4", "video"), ("a.wav", "audio"), (None, None)])
def test_a_clip_gets_its_player(file: str | None, shown: str | None) -> None:
    pytest.importorskip("gradio")
    blocks = page(lambda path: Explanation({}, None, {}, [], []), "experiment pnao")
    texts = str(blocks.get_config_file())
    assert "experiment pnao" in texts
    assert "not a fact about a person" in texts
    (change,) = [fn for fn in blocks.fns.values() if fn.name == "players"]
    video, audio, *results = change.fn(file)
    assert (video.visible, audio.visible) == (shown == "video", shown == "audio")
    assert results == [None] * 5


def test_the_page_is_served_here_alone() -> None:
    pytest.importorskip("gradio")
    assert DEMO.host == "127.0.0.1"
    with socket.socket() as free:
        free.bind((DEMO.host, 0))
        port = free.getsockname()[1]
    blocks = page(lambda path: Explanation({}, None, {}, [], []), "experiment pnao")
    _, url, shared = blocks.launch(
        server_name=DEMO.host, server_port=port, prevent_thread_lock=True, quiet=True, share=False
    )
    try:
        assert shared is None
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert "gradio" in answer.read().decode()
    finally:
        blocks.close()
