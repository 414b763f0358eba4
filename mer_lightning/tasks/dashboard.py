"""``task=dashboard``: a saved view of a W&B project, made for what these runs log."""

from typing import Any

import wandb

from mer_lightning.config.aside import WandbConfig
from mer_lightning.config.schema import Config
from mer_lightning.errors import UserError, optional
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.views.scalars import EPOCH, ROUND
from mer_lightning.views.tracker import say
from mer_lightning.views.wandb import CONFUSION, check_login

INSTALL = "mer-lightning[dashboard]"
RATE = "pnao.rate"


def run(config: Config, directory: RunDirectory) -> None:
    """Save the view, and say where it is."""
    check_login()
    there = WandbConfig(**config.logger.get("wandb", {}))
    try:
        view = workspace(there.entity or default_entity(), there.project)
        view.save()
    except UserError:
        raise
    except Exception as error:  # of several private kinds
        raise UserError(
            f"logger.wandb.project={there.project}: the dashboard cannot be saved ({error}); does the "
            "project exist, and is logger.wandb.entity right? The first run with logger=wandb makes it"
        ) from error
    say(f"dashboard: {view.url}")


def default_entity() -> str:
    """The account's own. UserError if the server does not say."""
    if entity := wandb.Api().default_entity:
        return str(entity)
    raise UserError("logger.wandb.entity is not set, and the server does not say: name the user or the team")


def workspace(entity: str, project: str) -> Any:
    """The view, not saved yet."""
    ws = optional("wandb_workspaces.workspaces", INSTALL)
    return ws.Workspace(
        entity=entity,
        project=project,
        name="mer_lightning: rounds, size, confusions",
        sections=[ws.Section(name=name, panels=panels, is_open=True) for name, panels in sections().items()],
        runset_settings=ws.RunsetSettings(
            pinned_columns=["config:pnao.value.rate", "summary:best/com", "summary:best/parameters"]
        ),
    )


def sections() -> dict[str, list[Any]]:
    """The panels, by section."""
    wr = optional("wandb_workspaces.reports.v2", INSTALL)
    return {
        "Rounds, by pruning rate": [
            *(rounds(wr, title, y=[f"round/{name}"]) for name, title in SCORES.items()),
            rounds(wr, "Com of the test sets", metric_regex="^round/test_.*/com$"),
            rounds(wr, "Parameters", y=["round/parameters"]),
        ],
        "Quality against size": [
            wr.ScatterPlot(
                title="Com against parameters, each run's chosen round",
                x=wr.SummaryMetric("best/parameters"),
                y=wr.SummaryMetric("best/com"),
            ),
            wr.LinePlot(title="Com against parameters, all rounds", x="round/parameters", y=["round/com"]),
        ],
        "Confusions": [
            wr.MediaBrowser(title="Of each run", media_keys=["figures/confusion"]),
            wr.CustomChart(
                query={"summaryTable": {"tableKey": "confusion/validation"}},
                chart_name="wandb/confusion_matrix/v1",
                chart_fields={name: name for name in CONFUSION},
                chart_strings={"title": "Out of fold"},
            ),
        ],
        "Epochs, by fold": [
            wr.LinePlot(title=title, x=EPOCH, metric_regex=f"^fold_.*/{name}$")
            for name, title in EPOCHS.items()
        ],
    }


EPOCHS = {"loss": "Loss", "val_loss": "Validation loss", "dis": "Dis", "lr": "Learning rate"}
SCORES = {"com": "Com, out of fold", "dis": "Dis (weighted F1)", "dim": "Dim (mean squared error)"}


def rounds(wr: Any, title: str, **metrics: Any) -> Any:
    """Curves over the rounds: the mean of the runs with the same rate, and their range."""
    return wr.LinePlot(
        title=title,
        x=ROUND,
        groupby=wr.Config(RATE),
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        **metrics,
    )
