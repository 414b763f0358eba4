"""How wide the interval of a difference between two systems is, by the number of clips.

python -m experiments.mer2023.power    (a table, as Markdown)
"""

from math import sqrt

from scipy.stats import norm

CLIPS = {"MULTI (test1)": 411, "Train&Val, out of fold": 3373}
APART = (0.02, 0.05, 0.10)  # share of the clips that exactly one of the two systems gets right
POWER = 0.8


def error(apart: float, clips: int) -> float:
    """Standard error of the difference of two accuracies on the same clips, each clip for itself.

    A clip's difference is -1, 0 or 1, and not 0 with probability ``apart``: its variance is about ``apart``.
    Weighted F1 moves as accuracy does. Com adds a quarter of the difference in squared error; speakers and
    the luck of training add their own. So this is the least.

    >>> round(1.96 * error(0.05, 411), 4)
    0.0216
    """
    return sqrt(apart / clips)


def table() -> str:
    """Half the 95 % interval, and the smallest true difference that four of five such experiments show."""
    half, found = norm.ppf(0.975), norm.ppf(0.975) + norm.ppf(POWER)
    lines = [
        "| clips | only one is right on | interval | shown four times of five |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, clips in CLIPS.items():
        for apart in APART:
            e = error(apart, clips)
            cells = (f"{name}: {clips:,}", f"{apart:.0%}", f"± {half * e:.3f}", f"{found * e:.3f}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines).replace(" 0.", " .").replace("%", " %")


if __name__ == "__main__":
    print(table())
