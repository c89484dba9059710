import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, recall_score

from leukemia.classes import Classes
from leukemia.errors import UserError
from leukemia.measure.comparison import compare, comparison_rows
from leukemia.measure.intervals import of_difference, student
from leukemia.measure.metrics import summarize
from leukemia.measure.predictions import Predictions
from tests.report.samples import by_p_cancer, random_predictions, toy


def two_runs(n=120, seed=0):
    """Two runs on the same files, the second better than the first."""
    first, second = (random_predictions(n, gain, seed) for gain in (1.0, 2.5))
    return {"first": first, "second": second}


def shuffled(p, seed=0):
    order = np.random.default_rng(seed).permutation(len(p.files))
    files = tuple(p.files[i] for i in order)
    return Predictions(files, p.labels[order], p.probabilities[order], p.classes)


def test_differences_and_disagreements_of_a_literal():
    base = by_p_cancer([0.9, 0.9, 0.1, 0.1], [0.1, 0.9])
    better = by_p_cancer([0.9, 0.9, 0.9, 0.1], [0.9, 0.1])
    found = compare({"base": base, "better": better})
    assert (found["reference"], found["n"]) == ("base", 6)
    (one,) = found["differences"]
    assert one["run"] == "better"
    assert one["difference"]["accuracy"] == pytest.approx(4 / 6 - 3 / 6)
    assert one["difference"]["cancer_recall"] == pytest.approx(3 / 4 - 2 / 4)
    assert one["difference"]["cancer_specificity"] == 0
    # Right only with the one: c2 and b1; only with the reference: b0.
    assert one["mcnemar"]["accuracy"] == {"only_run": 2, "only_reference": 1, "p_value": 1.0}
    assert one["mcnemar"]["cancer"] == one["mcnemar"]["accuracy"]
    assert found["figures"]["base"]["accuracy"] == 0.5
    assert list(found["figures"]) == ["base", "better"]


def test_five_wins_to_none_have_the_p_value_of_five_heads():
    base, better = by_p_cancer([0.1] * 5, [0.1]), by_p_cancer([0.9] * 5, [0.1])
    (one,) = compare({"base": base, "better": better})["differences"]
    assert one["mcnemar"]["cancer"]["p_value"] == pytest.approx(2 / 2**5)


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_agrees_with_statsmodels(seed):
    contingency = pytest.importorskip("statsmodels.stats.contingency_tables")
    runs = two_runs(seed=seed)
    base, run = runs.values()
    (one,) = compare(runs)["differences"]
    decisions = {
        "accuracy": (run.labels == run.predicted, base.labels == base.predicted),
        "cancer": ((run.predicted > 0) == run.cancer, (base.predicted > 0) == base.cancer),
    }
    for kind, (ours, theirs) in decisions.items():
        table = [[(ours & theirs).sum(), (ours & ~theirs).sum()],
                 [(~ours & theirs).sum(), (~ours & ~theirs).sum()]]  # fmt: skip
        expected = contingency.mcnemar(table, exact=True).pvalue
        assert one["mcnemar"][kind]["p_value"] == pytest.approx(expected, abs=1e-12)
        assert one["mcnemar"][kind]["only_run"] == table[0][1]


def test_the_intervals_follow_from_both_runs_without_each_group():
    runs = two_runs(80)
    groups = np.arange(80) % 16
    figures = {
        "accuracy": lambda p, i: accuracy_score(p.labels[i], p.predicted[i]),
        "cancer_recall": lambda p, i: recall_score(p.cancer[i], p.predicted[i] > 0),
        "cancer_specificity": lambda p, i: recall_score(~p.cancer[i], p.predicted[i] == 0),
        "nll": lambda p, i: log_loss(p.labels[i], p.probabilities[i], labels=range(4)),
    }
    (one,) = compare(runs, groups)["differences"]
    base, run = runs.values()
    counted = {"cancer_recall": base.cancer, "cancer_specificity": ~base.cancer}
    told = ((run.predicted > 0) == run.cancer) != ((base.predicted > 0) == base.cancer)
    named = (run.predicted == run.labels) != (base.predicted == base.labels)
    for name, figure in figures.items():
        value = figure(run, np.arange(80)) - figure(base, np.arange(80))
        rests = [np.flatnonzero(groups != group) for group in range(16)]
        without = np.array([figure(run, rest) - figure(base, rest) for rest in rests])
        assert one["difference"][name] == pytest.approx(value)
        if name == "nll":
            expected = student(value, without)
        else:
            trials = counted.get(name, np.ones(80, np.bool_))
            differ = (told if name in counted else named)[trials].mean()
            sizes = np.unique(groups[trials], return_counts=True)[1]
            expected = of_difference(value, without, differ, sizes)
        assert one["interval"][name] == pytest.approx(list(expected), abs=1e-9), name


def test_groups_are_counted_that_are_better_worse_and_alike():
    # Cancers in four groups of two, benign images in a fifth: c2 to c5 are won, c6 is lost.
    base = by_p_cancer([0.9, 0.9, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9], [0.1, 0.1])
    run = by_p_cancer([0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1, 0.9], [0.1, 0.1])
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    found = compare({"base": base, "run": run}, groups)
    (one,) = found["differences"]
    assert (found["n"], found["n_groups"]) == (10, 5)
    assert one["groups"]["accuracy"] == {"better": 2, "worse": 1, "equal": 2}
    assert one["groups"]["cancer_recall"] == {"better": 2, "worse": 1, "equal": 1}
    assert one["groups"]["cancer_specificity"] == {"better": 0, "worse": 0, "equal": 1}
    assert one["groups"]["nll"] == {"better": 2, "worse": 1, "equal": 2}  # a lower one is better
    assert one["groups"]["ece"] is None
    _, ((_, accuracy, *_, ece, _, _),) = comparison_rows(found)
    assert accuracy.startswith("+0.200 [")
    assert accuracy.endswith("], 2 groups better, 1 worse")
    assert "groups" not in ece
    _, ((_, alone, *_),) = comparison_rows(compare({"base": base, "run": run}))
    assert "groups" not in alone  # each image its own: the counts stand beside McNemar's p


def test_many_groups_better_and_none_worse_is_a_difference_though_each_interval_is_wide():
    rng = np.random.default_rng(0)
    share = np.repeat(rng.beta(2, 0.5, size=18), 20)
    luck = rng.random(360)
    base, run = (np.where(luck < p, 0.9, 0.1) for p in (share - 0.12, share))
    files = by_p_cancer(base, []), by_p_cancer(run, [])
    groups = np.arange(360) // 20
    (one,) = compare(dict(zip("ab", files, strict=True)), groups)["differences"]
    assert one["interval"]["accuracy"][0] > 0
    assert one["groups"]["accuracy"]["worse"] == 0
    ends = [summarize(p, groups)["interval"]["accuracy"] for p in files]
    assert ends[0][1] > ends[1][0]  # apart they overlap


def test_pairing_makes_the_interval_narrower_than_that_of_independent_runs():
    base = random_predictions(400, 1.0)
    near = replace(base, probabilities=0.9 * base.probabilities + 0.1 / 4)
    (one,) = compare({"base": base, "near": near})["differences"]
    assert np.ptp(one["interval"]["nll"]) < 0.5 * np.ptp(summarize(base)["interval"]["nll"])


def test_the_order_of_a_runs_files_does_not_matter():
    runs = two_runs()
    mixed = {"first": runs["first"], "second": shuffled(runs["second"])}
    assert compare(mixed) == compare(runs)


def test_every_run_is_compared_with_the_first():
    base, run = two_runs().values()
    found = compare({"a": base, "b": run, "c": base})
    assert [one["run"] for one in found["differences"]] == ["b", "c"]
    assert found["differences"][0] == {**compare({"a": base, "b": run})["differences"][0]}
    assert set(found["differences"][1]["difference"].values()) == {0}


def test_runs_that_decide_alike_are_not_proved_equal():
    base = toy()
    (one,) = compare({"a": base, "b": base})["differences"]
    for name, trials in (("accuracy", 6), ("cancer_recall", 4), ("cancer_specificity", 2)):
        limit = pytest.approx(1 - 0.05 ** (1 / trials))
        assert one["interval"][name] == [-one["interval"][name][1], limit]
    assert one["mcnemar"]["accuracy"]["p_value"] == 1
    grouped = compare({"a": base, "b": base}, np.array([0, 0, 1, 1, 2, 2]))
    limit = 1 - 0.05 ** (1 / 3)
    found = grouped["differences"][0]["interval"]["accuracy"]
    assert found == pytest.approx([-limit, limit])


def test_what_is_undefined_is_null():
    cancer_only = by_p_cancer([0.25, 0.75], [])
    (one,) = compare({"a": cancer_only, "b": cancer_only})["differences"]
    assert one["difference"]["cancer_specificity"] is None
    assert one["interval"]["cancer_specificity"] is None
    single = by_p_cancer([0.25], [])
    (one,) = compare({"a": single, "b": by_p_cancer([0.75], [])})["differences"]
    assert one["difference"]["accuracy"] == 1
    assert set(one["interval"].values()) == {None}


def test_the_figures_are_plain_values():
    found = compare(two_runs())
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def refused(runs):
    with pytest.raises(UserError) as error:
        compare(runs)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_one_run_is_no_comparison():
    assert "two or more runs to compare, but got ['a']" in refused({"a": toy()})


def test_other_files_are_refused_by_name_whichever_run_has_them():
    p = toy()
    less = Predictions(p.files[:4], p.labels[:4], p.probabilities[:4], p.classes)
    message = refused({"a": p, "b": less})
    assert "only 'a' has 'c1' (2 such files not in 'b')" in message
    assert "only 'b' has 'c1' (2 such files not in 'a')" in refused({"a": less, "b": p})


def test_other_labels_are_refused_by_file():
    p = toy()
    other = replace(p, labels=np.array([0, 0, 1, 2, 2, 2]))
    assert "'b2' is B in 'a' and C in 'b' (1 such files)" in refused({"a": p, "b": other})


def test_other_classes_are_refused():
    p = toy()
    other = replace(p, classes=Classes(("A", "B", "C"), benign="B"))
    assert "run 'b' to have the classes of 'a'" in refused({"a": p, "b": other})


def test_a_file_predicted_twice_is_refused():
    p = toy()
    twice = replace(p, files=("a1", "a2", "b1", "b1", "c1", "c2"))
    for runs in ({"a": p, "b": twice}, {"b": twice, "a": p}):
        assert "each file of run 'b' once, but 'b1' is repeated" in refused(runs)


def test_the_table_shows_signed_differences_and_the_counts_behind_the_p_value():
    base = by_p_cancer([0.9, 0.9, 0.1, 0.1], [])
    better = by_p_cancer([0.9, 0.9, 0.9, 0.9], [])
    header, rows = comparison_rows(compare({"base": base, "better": better}))
    assert header == [
        "run", "accuracy", "cancer sensitivity", "cancer specificity", "NLL", "ECE",
        "McNemar p (class)", "McNemar p (cancer)",
    ]  # fmt: skip
    (row,) = rows
    assert row[0] == "better"
    assert row[1] == "+0.500 [-0.424, +1.000]"  # two of four images show little
    assert row[3] == "n/a"
    assert row[4].startswith("-")
    assert row[6] == "0.5 (2 : 0)"
