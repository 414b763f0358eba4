"""Where a model is: a run's directory, a folder, or ``hf://OWNER/NAME`` in the hub's local cache."""

import re
from pathlib import Path

from mer_lightning.errors import UserError

SCHEME = "hf://"
FILES = ["*.json", "*.safetensors", "SHA256SUMS"]  # nothing else of a repository is fetched


def model_folder(path: str | Path, revision: str | None = None) -> Path:
    """The folder with a model's files.

    Args:
        path: a finished run's directory, its ``model`` folder, or ``hf://OWNER/NAME``.
        revision: of a model on the hub: a commit, tag or branch.

    Raises UserError for a model of the hub that cannot be had, and a revision of any other.
    """
    if str(path).startswith(SCHEME):
        return local_folder(str(path), revision)
    if revision is not None:
        raise UserError(f"{path}: revision={revision} is for models of the hub, {SCHEME}OWNER/NAME")
    folder = Path(path).expanduser()
    return folder / "model" if (folder / "model").is_dir() else folder


def local_folder(address: str, revision: str | None) -> Path:
    """The model's folder in the cache; what is not there yet is fetched.

    Raises UserError for an address that is none, and where the model is not cached and cannot be fetched.
    """
    name = address.removeprefix(SCHEME)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UserError(f"{address}: expected {SCHEME}OWNER/NAME")
    from huggingface_hub import snapshot_download  # late: needed for addresses on the hub only

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES))
    except Exception as error:  # HTTP, proxies, names, full disks: each raises its own kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{address}: not in the cache, and cannot be downloaded ({reason}); check the name, the revision "
            "and the network, or download it elsewhere and give its folder"
        ) from error
