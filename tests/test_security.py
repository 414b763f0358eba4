"""Attacks, each planted and seen refused: what a stranger's files, clips and names could try."""

import ast
import csv
import html.parser
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mer_lightning import load
from mer_lightning.analysis.report import write_report
from mer_lightning.config import Config
from mer_lightning.data.corpus import check_id
from mer_lightning.data.label_npz import read_corpora
from mer_lightning.data.readers import read_corpus
from mer_lightning.data.store import read_store, write_store
from mer_lightning.errors import UserError, users_mistake
from mer_lightning.run_directory import RunDirectory
from mer_lightning.tasks import fit, predict
from tests.conftest import SMALL, composed, folder_overrides, write_folder

PACKAGE = Path(__file__).parents[1] / "mer_lightning"
SCRIPT = "<script>alert(1)</script>"
SECRET = "s3cret-" + "0f1e" * 8


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """File, dotted name and node of every call in the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield str(path.relative_to(PACKAGE)), ast.unparse(node.func), node


def keyword(node: ast.Call, name: str) -> Any:
    """The constant given for a keyword; None where there is none."""
    return next((getattr(k.value, "value", ...) for k in node.keywords if k.arg == name), None)


def test_nothing_in_the_source_runs_what_a_file_says() -> None:
    seen = set()
    for file, name, node in calls():
        last = name.rpartition(".")[2]
        seen.add(name)
        assert name not in ("eval", "exec", "compile", "__import__"), (file, name)
        assert last not in (
            "instantiate",
            "get_method",
            "get_class",
            "get_object",
            "register_new_resolver",
        ), file
        assert name not in ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen"), file
        assert not re.match(r"(pickle|dill|joblib|shelve|marshal|cloudpickle)\.(load|dump|open|Unp)", name), (
            file,
            name,
        )
        if name == "torch.load":
            assert keyword(node, "weights_only") is True, file
        if name == "np.load":
            assert keyword(node, "allow_pickle") is False, file
        if last == "from_pretrained" and name.startswith("Auto"):
            assert keyword(node, "trust_remote_code") is False, file
        assert keyword(node, "shell") is None, file
    assert {"torch.load", "np.load", "PlainLoader"} <= seen  # the names are still what they are looked for by
    users = {p.name for p in PACKAGE.rglob("*.py") if "import pickle" in p.read_text(encoding="utf-8")}
    assert users == {
        "label_npz.py",
        "weights.py",
    }  # the restricted reader, and one that needs an error's name


def test_a_configuration_cannot_call_anything(tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    for key in ("+data._target_=os.mkdir", "+network._target_=os.mkdir", "+_target_=os.mkdir"):
        with pytest.raises(UserError, match="unknown configuration key"):
            composed(key, f"data.root={owned}")
    config = composed("data=folder", "data.levels=[a]", f"experiment_name='os.mkdir({owned})'", "data.root=x")
    assert config.experiment_name == f"os.mkdir({owned})"
    assert not owned.exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data``, every name an attack, and ``runs/run`` trained on it, not to change."""
    root = tmp_path_factory.mktemp("hostile")
    data = write_folder(root / SCRIPT.replace("/", "|"))
    with (data / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    swap = {"happy": f"happy{SCRIPT}", "test": f"test{SCRIPT}", "s1": f"s1{SCRIPT}"}
    rows[1][0] = SCRIPT.replace("/", "|")
    with (data / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([[swap.get(cell, cell) for cell in row] for row in rows])
    (data / "low.npy").rename(data / "<script>low.npy")
    overrides = [o.replace("[low,", "['<script>low',") for o in folder_overrides(data)]
    overrides[1] = "data.root='" + str(data) + "'"
    os.environ["WANDB_API_KEY"] = os.environ["HF_TOKEN"] = SECRET
    try:
        config = composed(
            *overrides, *SMALL, "pnao.rounds=1", "trainer.epochs=1", f"experiment_name='{SCRIPT}'"
        )
        fit.run(config, RunDirectory(root / "runs" / "run"))
        write_report(root / "runs")
    finally:
        del os.environ["WANDB_API_KEY"], os.environ["HF_TOKEN"]
    return root


class Tags(html.parser.HTMLParser):
    """All tags of a page, and the attributes that could act or reach elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.acting: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.acting += [
            (k, v) for k, v in attrs if k.startswith("on") or (k in ("src", "href") and v[:5] != "data:")
        ]


@pytest.mark.parametrize("page", ["runs/run/report.html", "runs/report/index.html"])
def test_pages_show_names_as_text(trained: Path, page: str) -> None:
    text = (trained / page).read_text(encoding="utf-8")
    assert "&lt;script&gt;" in text  # the names are there
    read = Tags(text)
    assert "script" not in read.tags
    assert read.acting == []
    assert "default-src 'none'" in text


def test_the_names_come_through_as_they_were(trained: Path) -> None:
    with (trained / "runs" / "run" / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["utterance_id"] == SCRIPT.replace("/", "|")
    assert f"happy{SCRIPT}" in {row["emotion"] for row in rows}
    assert "weight_<script>low" in rows[0]


def test_no_secret_of_the_environment_is_kept(trained: Path) -> None:
    files = [p for p in trained.rglob("*") if p.is_file()]
    assert len(files) > 30
    assert not [p for p in files if SECRET.encode() in p.read_bytes()]


def test_a_strangers_config_is_never_resolved(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    runs = shutil.copytree(trained / "runs", tmp_path / "runs")
    run = RunDirectory(runs / "run")
    saved = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    saved["trainer"]["schedule"] = "${oc.env:WANDB_API_KEY}"
    run.config.write_text(yaml.safe_dump(saved), encoding="utf-8")
    with pytest.raises(UserError, match=re.escape("${oc.env:WANDB_API_KEY}")):
        fit.refuse_another_configuration(checked_config(trained), run)
    write_report(runs)
    assert load(run.path).classes
    found = [p for p in runs.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]
    assert not found
    assert SECRET not in capsys.readouterr().out


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mkdir [owned]", "!!python/name:os.system", "&a [*a]"]
)
def test_a_strangers_config_runs_nothing(trained: Path, tmp_path: Path, tag: str) -> None:
    run = RunDirectory(tmp_path)
    run.config.write_text(f"experiment_name: {tag}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"config\.yaml"):
        run.read_config()


def test_aliases_cannot_multiply(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    bomb = "\n".join(
        ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))]
    )
    run.config.write_text(bomb + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="alias"):
        run.read_config()


ESCAPES = (
    "../x",
    "/etc/passwd",
    "..",
    ".hidden",
    "a/b",
    "a\\b",
    "a\0b",
    "a\nb",
    "",
    " ",
    "x" * 300,
    "\u202ex",
    "\ud800",
)


@pytest.mark.parametrize("name", ESCAPES, ids=ascii)
def test_names_cannot_leave_their_folder(trained: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError):
        check_id(name, "here")
    model = shutil.copytree(trained / "runs" / "run" / "model", tmp_path / "model")
    description = json.loads((model / "model.json").read_text(encoding="utf-8"))
    description["networks"][0]["file"] = name
    (model / "model.json").write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(UserError, match="cannot name a file"):
        load(model)
    config = composed(*folder_overrides(write_folder(tmp_path / "data")))
    store = write_store(read_corpus(config.data), tmp_path / "store")
    manifest = json.loads((store / "manifest.json").read_text(encoding="utf-8"))
    manifest["features"]["low"]["file"] = name
    (store / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UserError, match="cannot name a file"):
        read_store(composed("data=store", f"data.root={store}").data)


@pytest.mark.parametrize(
    "name", ["\uff0fetc\uff0fpasswd", "\u2024\u2024", "a\u0301", "CON", "-rf", "=1+1", "x" * 200]
)
def test_look_alikes_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{check_id(name, 'here')}.txt").touch()
    assert [p.name for p in tmp_path.iterdir()] == [f"{name}.txt"]


def test_links_in_a_strangers_run_cannot_have_things_outside_replaced(trained: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "round_0").mkdir(parents=True)
    (precious / "round_0" / "thesis.txt").write_text("years of work")
    run = RunDirectory(shutil.copytree(trained / "runs" / "run", tmp_path / "run"))
    config = checked_config(trained)
    for name in ("fold_0", "model", "figures", "reference"):
        planted = RunDirectory(shutil.copytree(run.path, tmp_path / f"planted {name}"))
        planted.results.unlink()
        planted.report.unlink()
        shutil.rmtree(planted.path / name, ignore_errors=True)
        (planted.path / name).symlink_to(precious)
        with pytest.raises(UserError, match="link"):
            fit.run(config, planted)
        assert (precious / "round_0" / "thesis.txt").read_text() == "years of work"
        assert sorted(p.name for p in precious.rglob("*")) == ["round_0", "thesis.txt"]
    (run.path / ".x.unfinished").symlink_to(precious)
    run.sweep_up()
    assert not (run.path / ".x.unfinished").is_symlink()
    assert (precious / "round_0" / "thesis.txt").read_text() == "years of work"


def checked_config(trained: Path) -> Config:
    """The configuration that the run was trained with."""
    saved = yaml.safe_load((trained / "runs" / "run" / "config.yaml").read_text(encoding="utf-8"))
    plain = composed(
        *SMALL, "pnao.rounds=1", "trainer.epochs=1", "data=folder", "data.levels=[x]", "data.root=x"
    )
    for key, value in saved["data"].items():
        setattr(plain.data, key, value)
    plain.experiment_name = saved["experiment_name"]
    return plain


def test_an_output_that_is_a_link_leaves_the_file_behind_it_alone(trained: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("years of work")
    output = tmp_path / "predicted.csv"
    output.symlink_to(precious)
    config = composed("task=predict", "model=x", f"input={tmp_path}", f"output={output}")
    with pytest.raises(UserError, match="no prediction file to replace"):
        predict.run(config, RunDirectory(tmp_path / "unused"))
    assert precious.read_text() == "years of work"


def test_messages_cannot_steer_a_terminal() -> None:
    message = users_mistake(UserError("emotion \x1b[2J\x1b]0;title\x07 and\nanother line " + "x" * 10_000))
    assert message is not None
    assert message.isprintable()
    assert len(message) < 3000
    name = users_mistake(FileNotFoundError(2, "No such file", "a\n\x1b[2Jb"))
    assert name is not None
    assert name.isprintable()


def test_the_demo_shows_its_answers_in_components_that_take_text(tmp_path: Path) -> None:
    gradio = pytest.importorskip("gradio")
    from mer_lightning.demo import Explanation, page

    blocks = page(lambda path: Explanation({SCRIPT: 1.0}, None, {}, [], [SCRIPT]))
    outputs = {type(block) for f in blocks.fns.values() for block in f.outputs}
    assert outputs == {gradio.Label, gradio.Textbox, gradio.Gallery}
    assert not [f.api_name for f in blocks.fns.values() if f.api_visibility == "public"]


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{file}\n#EXT-X-ENDLIST\n",
    "remote": "#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {file}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".wav", ".ts"])
def test_a_clip_cannot_make_the_demo_read_other_files(tmp_path: Path, kind: str, suffix: str) -> None:
    pytest.importorskip("av")
    from tests.extract.test_pipeline import write_wav
    from tests.test_demo import explainer

    other = write_wav(tmp_path / "private.wav")
    clip = tmp_path / f"clip{suffix}"
    clip.write_text(PLAYLISTS[kind].format(file=other), encoding="utf-8")
    with pytest.raises(UserError, match="cannot be used"):
        explainer()(clip)


def test_a_hub_model_in_a_model_description_is_not_fetched(trained: Path, tmp_path: Path) -> None:
    """Which encoder to load is the user's to say: a description's is only compared."""
    from mer_lightning.extract.pipeline import as_needed

    settings = composed().extract
    needed = {"hubert_3": {"model": "evil/model", "weights": "0" * 16, "window": 5}}
    assert as_needed(needed, settings).hubert.model == settings.hubert.model


def test_a_huge_claim_takes_no_memory(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data")
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (60, 1000000000000), }\n"
    (data / "low.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 64
    )
    with pytest.raises(UserError, match=r"low\.npy"):
        read_corpus(composed(*folder_overrides(data)).data)


def test_a_pickle_cannot_take_memory_on_its_word(tmp_path: Path) -> None:
    from tests.data.test_label_npz import with_member

    bytearray8 = b"\x80\x05\x96" + (2**62).to_bytes(8, "little") + b"."
    with pytest.raises(UserError) as caught:
        read_corpora(with_member(tmp_path / "labels.npz", bytearray8))
    assert not isinstance(caught.value.__cause__, MemoryError)
