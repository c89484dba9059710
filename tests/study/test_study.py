import csv
import json
import math

import pytest

from leukemia.errors import UserError
from leukemia.study.page import write_trials
from leukemia.study.record import Rule, mean, read_study, write_record
from tests.commands import seal

FIGURES = {"macro_f1": 0.5, "nll": 1.0, "recall": {"A": 0.25, "B": None}, "confusion": [[1]]}
OTHERS = ("n", "accuracy", "cancer_recall", "cancer_specificity", "roc_auc", "average_precision")
OTHERS += ("brier", "ece")
FIGURES |= {**dict.fromkeys(OTHERS), "interval": {}}


def make(folder, trials, metric="macro_f1", tie_break=("nll",), chart="bars"):
    """A study from (settings, figures, or an error's text, or None for not yet run)."""
    record = {
        "name": "toy",
        "metric": metric,
        "tie_break": tie_break,
        "chart": chart,
        "trials": [settings for settings, _ in trials],
    }
    write_record(folder, record)
    for number, (_, result) in enumerate(trials):
        trial = folder / str(number)
        trial.mkdir()
        if isinstance(result, dict):
            (trial / "metrics.json").write_text(json.dumps({"val": {**FIGURES, **result}}))
            (trial / "environment.json").write_text('{"wall_seconds": 1.5}')
            seal(trial)
        elif result is not None:
            (trial / "error.txt").write_text(result)
    return read_study(folder)


def grid(*values):
    """Two seeds of settings a, b, ...: figures (macro F1 of seed 0, of seed 1, NLL of both)."""
    return [
        ({"seed": str(seed), "x": "abcdef"[i]}, {"macro_f1": value[seed], "nll": value[2]})
        for seed in (0, 1)
        for i, value in enumerate(values)
    ]


def numbers(group):
    return [trial.number for trial in group]


def test_the_winner_has_the_best_mean_over_seeds(tmp_path):
    study = make(tmp_path, grid((1.0, 0.0, 1), (0.75, 0.5, 1), (0.5, 0.5, 1)))
    assert numbers(study.winner()) == [1, 4]
    assert [numbers(group) for group in study.ranked()] == [[1, 4], [0, 3], [2, 5]]
    assert mean(study.winner(), "macro_f1") == 0.625


def test_the_lowest_wins_where_lower_is_better(tmp_path):
    study = make(tmp_path, grid((1.0, 1.0, 3), (0.5, 0.5, 2)), metric="nll")
    assert numbers(study.winner()) == [1, 3]


def test_what_a_search_proposes_again_counts_once(tmp_path):
    results = [("a", 0.5), ("b", 0.75), ("a", 0.5), ("a", 0.5)]
    study = make(tmp_path, [({"x": x}, {"macro_f1": value}) for x, value in results])
    assert numbers(study.winner()) == [1]
    assert [numbers(group) for group in study.ranked()] == [[1], [0]]


def test_ties_go_to_the_next_figure_and_then_to_the_lower_number(tmp_path):
    study = make(tmp_path, grid((0.5, 0.5, 2), (0.25, 0.75, 1), (0.75, 0.25, 1)))
    assert numbers(study.winner()) == [1, 4]
    assert "then the lower trial number" in str(study.rule)


def test_an_undefined_figure_wins_nothing(tmp_path):
    study = make(tmp_path, [({"x": "a"}, {"macro_f1": None}), ({"x": "b"}, {"macro_f1": 0.0})])
    assert numbers(study.winner()) == [1]
    assert math.isnan(mean(study.settings()[0], "macro_f1"))


def test_a_setting_that_lacks_a_seed_is_not_compared(tmp_path):
    trials = grid((0.9, 0.9, 1), (0.5, 0.5, 1))
    trials[2] = (trials[2][0], "gone\n")
    assert numbers(make(tmp_path, trials).winner()) == [1, 3]


def test_without_a_finished_trial_there_is_no_winner(tmp_path):
    with pytest.raises(UserError, match="no winner"):
        make(tmp_path, [({"x": "a"}, None)]).winner()


def test_the_table_has_a_row_a_trial_whatever_became_of_it(tmp_path):
    trials = [({"x": "a"}, {}), ({"x": "b"}, "Traceback:\nOSError: no, disk\n"), ({"x": "c"}, None)]
    trials += [({"x": "d"}, None)]
    make(tmp_path, trials)
    (tmp_path / "3" / "config.yaml").write_text("")
    write_trials(read_study(tmp_path), tmp_path / "trials.csv")
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "trial", "status", "x", "macro_f1", "nll", "recall.A", "recall.B", *OTHERS,
        "seconds", "error",
    ]  # fmt: skip
    empty = [""] * len(OTHERS)
    assert list(rows[0].values()) == ["0", "done", "a", "0.5", "1.0", "0.25", "", *empty, "1.5", ""]
    assert list(rows[1].values())[3:] == ["", "", "", "", *empty, "", "OSError: no, disk"]
    assert [row["status"] for row in rows] == ["done", "failed", "waiting", "started"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"metric": "f1"}, "got 'f1'"),
        ({"tie_break": ("x",)}, "got 'x'"),
    ],
)
def test_a_rule_that_cannot_choose_is_refused(change, told):
    with pytest.raises(UserError, match=told):
        Rule(**change)


def test_a_folder_that_is_no_study_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"study\.json"):
        read_study(tmp_path)
