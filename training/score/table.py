# SPDX-License-Identifier: Apache-2.0
"""Figures as a Markdown table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FILES = ("table.md", "table.json", "error_cdf.png", "error_over_time.png", "worst.png")
"""Files of a report."""

_COLUMNS = {
    "mean (m)": ("mean_m",),
    "median (m)": ("median_m",),
    "lateral within 1 / 3 / 5 m (%)": tuple(f"lateral_within_{n}m" for n in (1, 3, 5)),
    "longitudinal within 1 / 3 / 5 m (%)": tuple(f"longitudinal_within_{n}m" for n in (1, 3, 5)),
    "heading within 1 / 3 / 5° (%)": tuple(f"yaw_within_{n}deg" for n in (1, 3, 5)),
    "heading mean / median (°)": ("yaw_mean_deg", "yaw_median_deg"),
    "offset lateral / longitudinal (m)": ("offset_lateral_m", "offset_longitudinal_m"),
    "ANEES": ("anees",),
    "coverage 50 / 90 / 99 (%)": tuple(f"coverage_{n}" for n in (50, 90, 99)),
    "coverage of heading 50 / 90 / 99 (%)": tuple(f"yaw_coverage_{n}" for n in (50, 90, 99)),
    "frames": ("frames",),
}

_UNCERTAIN = {
    "median (m)": "median_m",
    "lateral within 1 m (%)": "lateral_within_1m",
    "longitudinal within 1 m (%)": "longitudinal_within_1m",
    "published (%)": "published_share",
    "AUROC of the confidence, error < 5 m": "auroc_5m",
    "ECE": "ece",
    "> 10 m of the 90 % most confident (%)": "gross_at_90",
    "> 10 m of the 80 % (%)": "gross_at_80",
    "published and > 5 m wrong (%)": "published_wrong_5m",
}
_SHARES = {"published_share", "gross_at_90", "gross_at_80", "published_wrong_5m"}


def require_room(folder: Path, file: Path | None) -> None:
    """Raise FileExistsError where a report's files would replace what is no former report."""
    table = folder / "table.json"
    files = [entry for entry in folder.glob("*") if entry.name in FILES] + ([file] if file else [])
    for one in files:
        known = table if one.parent == folder else one
        if one.exists() and not _is_report(known):
            raise FileExistsError(f"{one} is there and of no former report: it is not replaced")


def _is_report(file: Path) -> bool:
    try:
        report = json.loads(file.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(report, dict) and "methods" in report


def markdown(report: Mapping[str, Any], rows: Mapping[str, Mapping[str, float]]) -> str:
    """Write one line a method; lateral and longitudinal are along the axes of the true heading. A
    dash stands for what no frame tells.
    """
    lines = [
        f"Data: {report['data']}. Prior within ±{report['prior']['position_m']:g} m and "
        f"±{report['prior']['yaw_deg']:g}°, single frames; checkpoint {report['checkpoint']}; "
        f"the gate publishes {100 * report['published_share']:.1f} %; "
        f"{len(report['unreadable'])} pairs could not be read.",
        "",
        "| method | " + " | ".join(_COLUMNS) + " |",
        "|---|" + "---|" * len(_COLUMNS),
    ]
    for name, figures in rows.items():
        cells = [" / ".join(_cell(key, figures[key]) for key in keys) for keys in _COLUMNS.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def confidence_table(
    rows: Mapping[str, tuple[Mapping[str, float], Mapping[str, tuple[float, float]]]],
    places: Sequence[int] | NDArray[np.int64],
) -> str:
    """Write one line a checkpoint: the network's figures and their intervals, from `Scores`;
    places: the number of each frame's place.
    """
    lines = [
        "All frames, published or not; in brackets 90 % intervals by bootstrap "
        f"over {len(np.unique(places))} places.",
        "",
        "| checkpoint | " + " | ".join(_UNCERTAIN) + " |",
        "|---|" + "---|" * len(_UNCERTAIN),
    ]
    for name, (figures, intervals) in rows.items():
        cells = []
        for key in _UNCERTAIN.values():
            value, low, high = (_cell(key, v) for v in (figures[key], *intervals[key]))
            cells.append(value if low == "–" else f"{value} ({low} to {high})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(key: str, value: float) -> str:
    if key == "frames":
        return str(value)
    if math.isnan(value):
        return "–"
    share = "within" in key or "coverage" in key or key in _SHARES
    return f"{100 * value:.1f}" if share else f"{value:.2f}"


def plain(value: Any) -> Any:
    """Return mappings and lists of figures as JSON has them: null for what no frame tells."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
