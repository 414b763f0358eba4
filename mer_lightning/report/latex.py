"""Table 1 for a paper: LaTeX with booktabs, the best mean of every column bold."""

from collections.abc import Sequence

from mer_lightning.report.findings import Findings
from mer_lightning.report.prose import NAMES
from mer_lightning.report.statistics import Estimate
from mer_lightning.report.table import ARROWS, Row, caption, columns

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "\N{MINUS SIGN}": "$-$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$", "\N{UPWARDS ARROW}": r"$\uparrow$",
    "\N{DOWNWARDS ARROW}": r"$\downarrow$",
    "\N{MULTIPLICATION SIGN}": r"$\times$", "\N{NO-BREAK SPACE}": "~",
}  # fmt: skip
HEAD = "% \\usepackage{booktabs,graphicx}, and \\usepackage[T1]{fontenc} for every character of a name.\n"
TRANSDUCTIVE = r"$^{\dagger}$"


def escape(text: str) -> str:
    """Text as LaTeX prints it, on one line."""
    return "".join(SPECIAL.get(c, c) for c in " ".join(text.split()))


def tables(found: Sequence[Findings]) -> str:
    """A ``table*`` for each data set."""
    return HEAD + "\n".join(table(f, number + 1) for number, f in enumerate(found))


def table(f: Findings, number: int = 1) -> str:
    """One data set's table, with its caption, label and notes."""
    wanted = columns(f.data)
    titles = [
        "System",
        *(f"{part} {NAMES[m]} {ARROWS[m]}" for part, m in wanted),
        "Seeds",
        "Parameters (left)",
    ]
    best = {cell: best_mean(f.rows, cell) for cell in wanted}
    body = [
        line([system(row), *(score(row.scores[c], best[c]) for c in wanted), *rest(row)]) for row in f.rows
    ]
    return "\n".join(
        [
            r"\begin{table*}",
            r"\centering",
            rf"\caption{{{escape(caption(f.data))}}}",
            rf"\label{{tab:results{number}}}\par\smallskip",
            r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(titles) - 1)}}}",
            r"\toprule",
            line([escape(title) for title in titles]),
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            rf"\par\smallskip\parbox{{\textwidth}}{{\footnotesize {' '.join(notes(f))}}}",
            r"\end{table*}",
            "",
        ]
    )


def line(cells: Sequence[str]) -> str:
    """A row."""
    return " & ".join(cells) + r" \\"


def best_mean(rows: Sequence[Row], cell: tuple[str, str]) -> str:
    """The best mean of a column as it is printed; nothing to compare with: ""."""
    means = [e.mean for row in rows if (e := row.scores[cell]) is not None]
    best = min if ARROWS[cell[1]] == "\N{DOWNWARDS ARROW}" else max
    return f"{best(means):.4f}" if len(means) > 1 else ""


def score(estimate: Estimate | None, best: str) -> str:
    """A mean, bold if it is the column's best, and half its interval."""
    if estimate is None:
        return "--"
    mean = f"{estimate.mean:.4f}"
    signed = mean.replace("-", "$-$")
    shown = rf"\textbf{{{signed}}}" if mean == best else signed
    return shown if estimate.half is None else rf"{shown} $\pm$ {estimate.half:.4f}"


def system(row: Row) -> str:
    """Its name, the paper's name for it, and a dagger if it is transductive."""
    name = f"{row.system} [{row.published_name}]" if row.published_name else row.system
    return escape(name) + TRANSDUCTIVE * row.transductive


def rest(row: Row) -> list[str]:
    """Seeds, and the size of one network."""
    c = row.costs
    return [str(row.seeds), escape(f"{c['parameters']:,.0f} ({c['parameters_ratio']:.1%})")]


def notes(f: Findings) -> list[str]:
    """What the reader needs under the table, escaped."""
    plain = ["Bold: the best mean of its column, whether or not a difference is shown."]
    plain.append("Dis: weighted F1 of the emotions.")
    if f.data.has_valence:
        plain.append("Dim: mean squared error of valence. Com = Dis \N{MINUS SIGN} 0.25 Dim.")
    plain.append("Parameters: of one network, in brackets the share left after pruning.")
    if any(row.published_name for row in f.rows):
        plain.append("Square brackets: the system's name in the paper.")
    plain += [*(answer.sentence for answer in f.answers), *f.remarks[:1], *f.cautions]
    found = [escape(note) for note in plain]
    if any(row.transductive for row in f.rows):
        found.insert(1, f"{TRANSDUCTIVE}: learnt from the test sets' features (transductive).")
    return found
