"""Pretrained models by name: a folder, or a model of the Hugging Face hub, fetched once into its cache."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from mer_lightning.errors import UserError, reading
from mer_lightning.extract.weights import refusing

BESIDES = ("*.json", "*.txt", "*.model")  # the weights: configuration, processors, vocabularies


class Pretrained(NamedTuple):
    """Where a model's files are, and what to call it wherever they are."""

    folder: Path
    name: str  # on the hub, or the folder's last part
    revision: str | None  # of the hub's; a folder has none


def find(key: str, model: str, revision: str | None) -> Pretrained:
    """The folder of the model that ``key`` names. UserError where there is none and none can be fetched."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return Pretrained(folder, folder.resolve().name, None)
    if model.startswith(("/", ".", "~")) or model.count("/") > 1:  # no name on the hub looks like that
        raise UserError(
            f"{key}={model}: there is no such folder; give one, or a name on the hub, owner/model"
        )
    try:
        return Pretrained(_fetch(model, revision), model, revision)
    except Exception as error:  # HTTP, proxies, names, full disks: each raises its own kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{key}={model}: cannot be downloaded ({reason}); check the name, the revision and the network, "
            f"or download it elsewhere and give its folder, {key}=FOLDER"
        ) from error


def _fetch(model: str, revision: str | None) -> Path:
    """The model's folder in the hub's cache: configuration and weights, as safetensors if there are any."""
    from huggingface_hub import snapshot_download  # late: needed for names on the hub only

    def fetch(*patterns: str) -> Path:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(patterns)))

    folder = fetch(*BESIDES, "model*.safetensors")
    if not any(folder.glob("model*.safetensors")):
        fetch(*BESIDES, "pytorch_model*.bin")
    return folder


def read_config(pretrained: Pretrained, types: Collection[str] | Callable[[Any], bool], remedy: str) -> Any:
    """The configuration of a model.

    types: the model types that will do, or what tells it of the class that ``AutoModel`` would take.
    Raises UserError, which ends with the remedy, for a folder without one, and for a model of another kind.
    """
    import transformers  # late: takes seconds

    with reading(pretrained.folder, remedy), quiet_hub():
        config = transformers.AutoConfig.from_pretrained(pretrained.folder, trust_remote_code=False)
        will_do = types(model_class(config)) if callable(types) else config.model_type in types
        if not will_do:
            raise UserError(f"{pretrained.folder}: a model of type {config.model_type}; {remedy}")
    return config


def model_class(config: Any) -> Any:
    """The class that ``AutoModel`` makes of a configuration, or None."""
    import transformers

    mapping: Any = transformers.MODEL_MAPPING
    return mapping.get(type(config), None)


def takes(model: Any) -> set[str]:
    """What a model, or its class, takes: some of audio, image, video, text."""
    own = getattr(model, "input_modalities", ())
    return {own} if isinstance(own, str) else set(own)


def load_model(
    pretrained: Pretrained, config: Any, remedy: str, *, auto: str = "AutoModel", pooled: bool = False
) -> Any:
    """The model with its weights, in 32 bits on the CPU, in evaluation mode.

    auto: the class of transformers that chooses the model's; pooled: with a layer on top that pools, where
    there can be one; few weights hold it.
    Raises UserError, which ends with the remedy, where weights could run code or do not fit.
    """
    import torch
    import transformers

    folder, options = pretrained.folder, dict[str, Any]()
    if auto == "AutoModel" and "add_pooling_layer" in signature(model_class(config).__init__).parameters:
        options["add_pooling_layer"] = pooled
    with reading(folder, remedy), quiet_hub(), refusing(folder, remedy):
        model, report = getattr(transformers, auto).from_pretrained(
            folder,
            config=config,
            trust_remote_code=False,
            dtype=torch.float32,
            weights_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **options,
        )
    # either would be random
    unfit = sorted(report["missing_keys"]) + [name for name, *_ in report["mismatched_keys"]]
    if unfit:
        raise UserError(f"{folder}: its weights do not fit its config.json, at {unfit[0]}; {remedy}")
    return model.eval()


def load_processor(folder: Path, auto: str, remedy: str, **options: Any) -> Any:
    """What prepares a model's input: ``auto`` is transformers' class that chooses it.

    Raises UserError, which ends with the remedy, where its files are not there or damaged.
    """
    import transformers

    with quiet_hub():
        try:
            made: Any = getattr(transformers, auto).from_pretrained(
                folder, trust_remote_code=False, **options
            )
            words = made if auto == "AutoTokenizer" else getattr(made, "tokenizer", None)
            if words is not None and len(words.get_vocab()) < len(words.all_special_tokens) + 2:
                raise ValueError(
                    "its vocabulary is empty"
                )  # what transformers makes of files that are not there
            return made
        except Exception as error:  # absent or damaged: each class raises its own kinds
            what = {"AutoTokenizer": "tokenizer", "AutoImageProcessor": "image processor"}.get(
                auto, "processor"
            )
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                f"{folder}: no usable {what} ({reason}); restore its files, or {remedy}"
            ) from error


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Without the bars of transformers, and its tables of weights that a shortened model rightly ignores."""
    logging: Any = import_module("transformers.utils.logging")  # late: takes seconds

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
