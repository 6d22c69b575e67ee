"""Figures as SVG: one drawing for each workload."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

# The same figures give the same file.
mpl.rcParams.update({"svg.hashsalt": "howdah", "svg.fonttype": "none", "font.size": 9})
OURS, OTHERS = "#c2410c", "#94a3b8"


def file_name(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") + ".svg"


def bars(title: str, unit: str, rows: Sequence[tuple[str, float, float, float]], home: Path, *, ours: str = "") -> Path:
    """A bar for each (name, median, least, most), the longest on top; `ours` stands out."""
    rows = sorted(rows, key=lambda row: row[1])
    names = [row[0] for row in rows]
    medians = [row[1] for row in rows]
    spread = [
        [max(median - least, 0) for _, median, least, _ in rows],
        [max(most - median, 0) for _, median, _, most in rows],
    ]
    figure, axes = plt.subplots(figsize=(7, 0.6 + 0.3 * len(rows)))
    colours = [OURS if not ours or name.startswith(ours) else OTHERS for name in names]
    axes.barh(names, medians, xerr=spread, color=colours, ecolor="#475569", capsize=2)
    for place, median in enumerate(medians):
        axes.annotate(number(median), (median, place), xytext=(4, 4), textcoords="offset points", fontsize=7)
    axes.set_title(f"{title} ({unit})", loc="left")
    return _save(figure, axes, home / file_name(title))


def lines(title: str, seconds: Sequence[float], series: Mapping[str, Sequence[float]], home: Path) -> Path:
    """One small panel for each series, over time."""
    figure, panels = plt.subplots(len(series), 1, figsize=(7, 1.3 * len(series)), sharex=True)
    for axes, (name, values) in zip(panels, series.items(), strict=True):
        axes.plot(seconds, values, color=OURS, linewidth=1)
        axes.set_ylim(bottom=0)
        axes.set_title(name, loc="left", fontsize=8)
    panels[-1].set_xlabel("seconds")
    return _save(figure, panels[0], home / file_name(title))


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _save(figure: Any, axes: Any, file: Path) -> Path:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
    return file
