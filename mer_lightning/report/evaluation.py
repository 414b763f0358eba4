"""The page of a model that was evaluated on other data."""

from collections.abc import Sequence

import numpy as np

from mer_lightning.report import figures
from mer_lightning.report.calibration import reliability
from mer_lightning.report.conditions import Study
from mer_lightning.report.page import WIDER, environment, score
from mer_lightning.report.pictures import Picture
from mer_lightning.report.statistics import MEASURES, MIN_CLUSTERS
from mer_lightning.results.evaluation import Evaluation
from mer_lightning.results.remarks import unrecognised


def evaluation_pictures(found: Evaluation, branch_names: Sequence[str]) -> list[Picture]:
    """The confusion matrix, and how far the posteriors can be believed."""
    emotion, decision = found.corpus.emotions, found.decisions.decision
    predicted = decision.posterior.argmax(dim=-1).numpy()
    known = emotion >= 0
    counts = np.zeros((len(found.corpus.classes),) * 2)
    np.add.at(counts, (emotion[known], predicted[known]), 1)
    confusion = figures.Confusion(found.corpus.name, list(found.corpus.classes), counts)
    posteriors = [decision.log_posterior, *decision.branch_log_posteriors.unbind(dim=1)]
    believed = {
        name: reliability(log_posterior.double().exp().numpy(), emotion)
        for name, log_posterior in zip(("fused", *branch_names), posteriors, strict=False)
    }
    errors = ", ".join(f"{name} {r.ece:.3f}" for name, r in believed.items())
    return [
        Picture(
            "confusion",
            "Which emotions are taken for which",
            "Large: percent of the true emotion; small: utterances. The diagonal is the recall.",
            f"Confusion matrix on {found.corpus.name}.",
            lambda: figures.confusion_figure(confusion),
        ),
        Picture(
            "calibration",
            "Can the posteriors be believed?",
            f"{int(known.sum())} utterances of known emotion; bins of equal width, 10 utterances or more.",
            f"Reliability diagram, and expected calibration error: {errors}.",
            lambda: figures.reliability_figure(believed),
        ),
    ]


def study_table(study: Study) -> list[list[str]]:
    """Each condition's scores, with the difference to the reference and its interval in brackets."""
    rows = [["", *(WIDER[m] for m in MEASURES)]]
    for c in study.conditions:
        cells = []
        for m in MEASURES:
            d = c.differences.get(m)
            told = " ({:+.4f}, {:+.4f} to {:+.4f})".format(d.value, *d.interval()) if d else ""
            cells.append(score(getattr(c.scores, m)) + told)
        rows.append([c.name, *cells])
    return rows


def evaluation_page(
    found: Evaluation,
    pictures: Sequence[Picture],
    studies: Sequence[Study],
    without: Sequence[str],
    more: Sequence[str] = (),
) -> str:
    """index.html of an evaluation; ``without``: the feature sets that the model did without; more remarks."""
    parts = {"all": found.whole} | (found.by_split if len(found.by_split) > 1 else {})
    flat = [scores.flat() for scores in parts.values()]
    names = WIDER | {f"f1_{c}": f"F1 of {c}" for c in found.corpus.classes}
    rows = [[label, *(score(f.get(key)) for f in flat)] for key, label in names.items()]
    remarks = [*more, unrecognised(found.corpus.name, found.whole)]
    remarks += [
        f"{n} utterances are {e}, which the model does not know: not scored."
        for e, n in found.unmapped.items()
    ]
    if without:
        remarks.append(f"The model did without {', '.join(without)}: the training mean stood in for it.")
    clusters = [d.clusters for s in studies for c in s.conditions for d in c.differences.values() if d]
    if clusters and min(clusters) < MIN_CLUSTERS:
        remarks.append(f"{min(clusters)} speakers or utterances are too few for the intervals to hold.")
    return environment().get_template("evaluation.html").render(
        title=f"A trained model on {found.corpus.name}",
        lead=f"{len(found.corpus.utterances):,} utterances"
        + (f" of {len(found.by_group)} speakers or groups." if found.by_group else "."),
        synthetic=found.corpus.synthetic,
        table=[["Score", *parts], *(row for row in rows if set(row[1:]) != {"-"})],
        groups=[[name, score(s.dis), score(s.uar)] for name, s in found.by_group.items()],
        cautions=[r for r in remarks if r],
        pictures=pictures,
        studies=[(s.title, study_table(s)) for s in studies],
    )  # fmt: skip
