"""The parts of a system by name. A name is listed here, and nowhere else.

``module:name``, below ``mer_lightning``, is where a part's code is. It is imported when the part is used:
a configuration is checked without torch. Plugins register theirs by the decorator ``add``.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import isclass, signature
from typing import Any, NamedTuple, TypeVar, get_type_hints

from mer_lightning.config.checks import one_of
from mer_lightning.errors import UserError

Part = TypeVar("Part")


class Registry(dict[str, Any]):
    """The parts of one kind: name -> the part, or where its code is.

    key: the configuration's key that names one, ``GROUP.KEY``. Every name is a choice of the group, and what
    goes with it is in ``conf/GROUP/NAME.yaml``, where there is anything.
    """

    def __init__(self, key: str, **places: str) -> None:
        super().__init__(places)
        self.key = key
        self.plugins: dict[str, str] = {}  # name -> the module that registered it

    def __getitem__(self, name: str) -> Any:
        """The part itself. UserError for an unknown name."""
        self.check(name)
        part = super().__getitem__(name)
        if isinstance(part, str):
            module, _, attribute = part.partition(":")
            part = getattr(import_module(f"mer_lightning.{module}"), attribute)
        return part

    def make(self, name: str, *given: Any, **options: Any) -> Any:
        """The part called with what is ``given``, and with those of the ``options`` that it names."""
        part = self[name]
        return part(*given, **of_parts(options, part))

    def add(self, name: str) -> Callable[[Part], Part]:
        """A decorator that registers a part: ``@FUSIONS.add("mine")``. UserError for a name that is taken."""

        def register(part: Part) -> Part:
            if name in self and self.plugins.get(name) != part.__module__:
                raise UserError(f"plugin {part.__module__}: {self.key}={name} is taken, choose another name")
            self[name] = part
            self.plugins[name] = part.__module__
            return part

        return register

    def settings(self) -> dict[str, tuple[Any, Any]]:
        """Settings of the parts that plugins registered: name -> type and default."""
        found: dict[str, tuple[Any, Any]] = {}
        for name, module in self.plugins.items():
            part = self[name]
            types = get_type_hints(part.__init__ if isclass(part) else part)
            for key, parameter in signature(part).parameters.items():
                if parameter.default is parameter.empty:
                    continue
                own = types.get(key, Any), parameter.default
                if found.setdefault(key, own) != own:
                    raise UserError(
                        f"plugin {module}: {self.key}={name} has a setting {key!r} of another type or "
                        "default than an earlier part's; rename it"
                    )
        return found

    def plugin(self, name: str) -> dict[str, str]:
        """The key and the module of a part that a plugin registered; {} for one of ours."""
        return {self.key: self.plugins[name]} if name in self.plugins else {}

    def check(self, name: str) -> None:
        """A UserError unless there is a part of that name."""
        one_of(self.key, name, self)


def of_parts(settings: Mapping[str, Any], *parts: Any) -> dict[str, Any]:
    """Those of the settings that any of the parts names as a parameter."""
    named = {name for part in parts for name in signature(part).parameters}
    return {name: value for name, value in settings.items() if name in named}


READERS = Registry(
    "data.reader",
    folder="data.readers.folder:read_folder",
    mertools="data.readers.mertools:read_mertools",
    mmsa="data.readers.mmsa:read_mmsa",
    store="data.readers.store:read_store",
    synthetic="data.readers.synthetic:read_synthetic",
)
CORPORA = Registry(  # published folders of clips: task=import makes their labels.csv
    "data.reader",
    cremad="data.corpora.cremad:read_cremad",
    iemocap="data.corpora.iemocap:read_iemocap",
    meld="data.corpora.meld:read_meld",
    ravdess="data.corpora.ravdess:read_ravdess",
)
NETWORKS = Registry(
    "network.kind",
    hierarchical="model.hierarchical:HierarchicalNetwork",  # one branch per acoustic level: the paper's
    transformer="model.transformer:TransformerNetwork",  # one token per feature set
)
FUSIONS = Registry(
    "fusion.kind",
    entropy="model.fusion:EntropyFusion",
    attention="model.fusion:AttentionFusion",
    mean="model.fusion:MeanFusion",
    linear="model.fusion:LinearFusion",
    linear_fitted="model.fusion:FittedFusion",
)
WEIGHTINGS = Registry(
    "loss.weighting",
    paper="model.losses:paper",
    kendall="model.losses:kendall",
    liebel="model.losses:liebel",
    sum="model.losses:unweighted",
    as_printed="model.losses:as_printed",
)
CRITERIA = Registry("pnao.criterion", weight="pnao.importance:weight_importance")  # Eq. 10
OPTIMIZERS = Registry("trainer.optimizer", adamw="model.optimizer:adamw")
ENCODERS = Registry("extract.features")  # filled from the files of conf/extract/feature: config/extract.py
CHOSEN_BY_NAME = (READERS, CORPORA, NETWORKS, FUSIONS, WEIGHTINGS)
WITH_SETTINGS = (*CHOSEN_BY_NAME, CRITERIA, OPTIMIZERS, ENCODERS)


class Task(NamedTuple):
    """A task: its module in ``tasks``, which has ``run(config, directory)``, and the keys that it needs."""

    module: str
    needs: Mapping[str, str] = {}  # key -> what it must name


MODEL = {"model": "DIR, a finished run's directory"}
STORE = {"output": "STORE, the folder of the store to write"}
IMPORT = {"output": "STORE, the folder of the store to write; of clips by name, the labels.csv"}
PATHS = {
    "input": "PATH, a feature folder, a store, a clip or a folder of clips",
    "output": "FILE.csv, the file to write",
}
TASKS = {
    "fit": Task("fit"),
    "import": Task("import_data", IMPORT),
    "extract": Task("extract", {"input": "DIR, the folder of clips"} | STORE),
    "predict": Task("predict", MODEL | PATHS),
    "evaluate": Task("evaluate", MODEL | {"output": "FOLDER, the folder to write"}),
    "export": Task("export", MODEL | {"output": "FILE, the file to write"}),
    "publish": Task("publish", MODEL | {"output": "FOLDER, the folder to write"}),
    "demo": Task("demo", MODEL),
    "report": Task("report"),
    "dashboard": Task("dashboard"),
}
