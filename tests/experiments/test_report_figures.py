"""The figures of the report of a sweep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.path import Path as Path2D
from matplotlib.transforms import Affine2D

from flwr_byzantine.experiments.report.curves import curves
from flwr_byzantine.experiments.report.heatmaps import maps, matrices
from flwr_byzantine.experiments.report.study import study
from flwr_byzantine.monitor.show.looks import looks
from tests.support.reports import cells_of, line, naive_mean, synthetic


def test_a_rule_has_one_look_in_every_figure_and_no_two_rules_share_one() -> None:
    rules = [f"rule {i}" for i in range(28)]
    shown = looks(rules)
    assert len({(look.colour, str(look.line)) for look in shown.values()}) == 28


def test_the_curves_show_the_mean_over_seeds_and_the_reference() -> None:
    records = [line("fedavg", "none", 0.9), line("fedavg", "alie", 0.4), line("fedavg", "alie", 0.6, 1)]
    (drawing,) = curves(study(cells_of(records)))
    honest, attacked = drawing.figure.axes
    drawn = {curve.get_label(): curve.get_ydata() for curve in attacked.get_lines()}
    means = [100 * (a + b) / 2 for a, b in zip(records[1]["course"]["accuracy"], records[2]["course"]["accuracy"], strict=True)]
    assert drawn["fedavg"] == pytest.approx(means)
    assert drawn["FedAvg, no attack"] == pytest.approx([100 * value for value in records[0]["course"]["accuracy"]])
    assert len(attacked.collections) == 1
    assert len(honest.collections) == 0


def test_the_curves_are_drawn_through_the_evaluated_rounds() -> None:
    records = [line("krum", "alie", 0.4, seed) for seed in (0, 1)]
    for record in records:
        record["course"]["accuracy"] = [0.1, None, None, 0.3, None, 0.5 + record["config"]["seed"] / 10]
    (drawing,) = curves(study(cells_of(records)))
    (axis,) = drawing.figure.axes
    (curve,) = axis.get_lines()
    assert list(curve.get_xdata()) == [0, 3, 5]
    assert curve.get_ydata() == pytest.approx([10, 30, 55])
    (band,) = axis.collections
    assert band.get_paths()[0].get_extents().ymax == pytest.approx(60)


def test_the_heat_map_has_the_worst_case_at_its_place() -> None:
    settings = tuple({"f": f, "gamma": g} for f in (1, 2, 3) for g in (0.0, 1.0))
    records = synthetic(settings=settings)
    drawing = next(drawing for drawing in maps(study(cells_of(records))) if drawing.name == "map-worst")
    krum = next(axis for axis in drawing.figure.axes if axis.get_title() == "krum")
    expected = [
        [min(naive_mean(records, strategy="krum", attack=a, f=f, gamma=g) for a in ("alie", "sign-flip")) for f in (1, 2, 3)]
        for g in (1.0, 0.0)
    ]
    assert np.asarray(krum.images[0].get_array()) == pytest.approx(100 * np.array(expected))
    assert [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()] == ["1", "0"]


def test_one_rule_under_attacks_with_long_names_has_room_for_both() -> None:
    options = {"attack_options": {"direction": "unit", "gamma_init": 5}}
    (drawing,) = matrices(study(cells_of([line("median", attack, 0.5, **options) for attack in ("agr-tailored", "min-max")])))
    FigureCanvasAgg(drawing.figure).draw()
    assert drawing.figure.axes[0].get_window_extent().height > 20  # pixels of the one row


@pytest.mark.parametrize("count", [3, 6])
def test_labels_of_the_matrix_stay_clear_of_each_other(count: int) -> None:
    attacks = [f"ipm-{k}" for k in range(count)]
    options = {"strategy_options": {"max_iter": 3, "tau": 10}, "attack_options": {"epsilon": 0.1}}
    records = [line("bucketing+centered-clipping", attack, 0.5, **options) for attack in attacks]
    (drawing,) = matrices(study(cells_of(records)))
    canvas = FigureCanvasAgg(drawing.figure)
    canvas.draw()
    labels = drawing.figure.axes[0].get_xticklabels()
    assert [label.get_text().split()[0] for label in labels] == [*attacks, "worst"]
    boxes = []
    for label in labels:
        turn = label.get_rotation()
        corner = label.get_transform().transform(label.get_position())
        label.set_rotation(0)  # the box of the text itself, which is then turned about its place back to where it is drawn
        boxes.append(Affine2D().rotate_deg_around(*corner, turn).transform(corners(label.get_window_extent(canvas.get_renderer()))))
        label.set_rotation(turn)
    assert not [k for k in range(count) if Path2D(boxes[k]).intersects_path(Path2D(boxes[k + 1]), filled=True)]


def corners(box: Any) -> np.ndarray:
    return np.array([(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1), (box.x0, box.y0)])
