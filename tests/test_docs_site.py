"""The pages of the site that are made from the code: every key, every public name, commands that compose."""

import shlex
from dataclasses import asdict
from pathlib import Path

import pytest

import mer_lightning
from docs.web import api, gallery, keys
from mer_lightning import plugins, pnao
from mer_lightning.config.aside import OUR_LOGGERS
from mer_lightning.config.identity import flat
from mer_lightning.config.registry import TASKS
from tests.conftest import composed

SECTIONS = keys.sections()
KEYS = {key.name: key for section in SECTIONS for key in section.keys}


def test_every_key_is_listed_with_its_default() -> None:
    ours = tuple(f"logger.{name}." for name in OUR_LOGGERS)
    listed = {name: key.default for name, key in KEYS.items() if not name.startswith(ours)}
    assert flat(listed) == flat(asdict(composed()))  # open groups are empty, and flat leaves them out


def test_every_key_has_a_type_and_a_meaning() -> None:
    assert [name for name, key in KEYS.items() if not key.meaning or not key.kind] == []


def test_names_that_can_be_chosen_are_spelled_out() -> None:
    assert f"one of {', '.join(f'`{task}`' for task in TASKS)} |" in keys.page()


def test_a_comment_over_two_lines_belongs_to_its_key() -> None:
    assert "deviations from the mean" in KEYS["data.clip"].meaning
    assert KEYS["data.clip"].kind == "float | None"


def test_every_public_name_has_its_place() -> None:
    page = api.page()
    for package in (mer_lightning, pnao):
        for name in package.__all__:
            assert f".{name}\n" in page
    for decorator in plugins.__all__:
        assert f"``{decorator}``" in page


@pytest.mark.parametrize("step", gallery.STEPS, ids=lambda step: step.title)
def test_the_commands_of_the_gallery_compose(step: gallery.Step) -> None:
    first = [
        a.partition(",")[0] for a in shlex.split(step.arguments) if a != "-m" and not a.startswith("hydra.")
    ]
    assert composed(*first)
    assert f"python -m mer_lightning {step.arguments}\n" in gallery.page()


def test_every_guide_is_in_the_navigation() -> None:
    site = (Path(keys.__file__).parent / "mkdocs.yml").read_text(encoding="utf-8")
    for path in Path(keys.__file__).parents[1].glob("*.md"):
        assert f" {path.name}\n" in site
