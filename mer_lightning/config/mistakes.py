"""What to tell a user of an error, in one line and in our words: Hydra's spread over many."""

import re
from difflib import SequenceMatcher

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from mer_lightning.config.checks import did_you_mean
from mer_lightning.config.identity import marks
from mer_lightning.errors import MAKE_SPACE, UserError, disk_full, one_line

NOT_INSTALLED = re.compile(r"Could not find 'hydra/(?:launcher|sweeper)/(joblib|optuna|submitit)")
READING_CONFIGURATION = ("hydra", "omegaconf", "yaml", "codecs")  # raise ValueError and more
ALIKE = 0.7  # how much, at least, a known key resembles the one that is meant


def users_mistake(error: Exception) -> str | None:
    """What to tell the user, in one line; None where the error is not one that a user can fix."""
    if isinstance(error, HydraException):
        return one_line(in_our_words(error))
    if isinstance(error, UserError | OmegaConfBaseException):
        return one_line(error)
    if isinstance(error, RecursionError):
        return "a file or an override is nested too deeply to be read; HYDRA_FULL_ERROR=1 shows which"
    if raised_in(error) in READING_CONFIGURATION:
        return f"a configuration file or an override cannot be read: {one_line(error)}"
    if disk_full(error):
        return f"no space is left on the disk; {MAKE_SPACE}"
    if isinstance(error, OSError) and error.filename is not None:
        return one_line(f"{error.filename}: {error.strerror}")
    return None


def in_our_words(error: HydraException) -> str:
    """What Hydra says, with its reason and without its advice to add unknown keys with a ``+``."""
    told, cause = str(error), error.__cause__
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} is not a valid override: {told.split('See https')[0]}"
    if missing := NOT_INSTALLED.search(told):
        return f"{missing[1]} is not installed: pip install 'mer-lightning[{missing[1]}]'"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        hint = did_you_mean(name, error.options)
        return f"{group}={name}: expected one of {', '.join(error.options)}{hint}"
    if override := re.match(r"Could not override '(.+?)'\.(.*)", told):
        if "No match in the defaults list" in override[2]:
            return f"{override[1]} has no choice by default: say +{override[1]}=NAME"
        return unknown_key(getattr(cause, "full_key", None) or override[1])
    if choice := re.match(r"Multiple values for (.+?)\.", told):
        return f"{choice[1]} has a choice already: say {choice[1]}=NAME, without a +"
    if isinstance(cause, OmegaConfBaseException):
        return f"{told.removeprefix('Error merging override ')}: {str(cause).splitlines()[0]}"
    return told.partition("\nOr add a second +")[0]


def unknown_key(key: str) -> str:
    """What to tell of a key that there is not."""
    if key.startswith("logger."):
        name = key.split(".")[1]
        return (
            f"{key}: no logger {name} is chosen; logger={name} chooses one of ours, "
            f"+logger.{name}._target_=CLASS any of Lightning's"
        )
    near, part = nearest(key), "hydra" if key.startswith("hydra.") else "job"
    hint = f"; did you mean {near}?" if near else ""
    return f"unknown configuration key {key}{hint} (--cfg {part} shows all)"


def nearest(key: str) -> str | None:
    """The known key that resembles ``key`` most, in its own group rather than in another; or None.

    ``trainer.lr`` and ``lr`` mean ``trainer.learning_rate``, by the initials, ``epochs`` ``trainer.epochs``.
    """
    group, _, name = key.rpartition(".")

    def likeness(known: str) -> float:
        there, _, own = known.rpartition(".")
        together = bool(group) and group.partition(".")[0] == there.partition(".")[0]
        initials = "".join(word[0] for word in own.split("_"))
        alike = 1.0 if name == initials else SequenceMatcher(None, name, own).ratio()
        return alike + 0.2 * together

    best = max(marks(), key=lambda known: (likeness(known), known.rpartition(".")[0] == group))
    return best if likeness(best) >= ALIKE else None


def raised_in(error: Exception) -> str:
    """The package or module that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
