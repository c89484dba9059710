import numpy as np
import pytest
from PIL import Image

from leukemia.measure.intervals import mean_interval
from leukemia.report.curves import write_history
from leukemia.study.figures import bars, curves, draw, heatmap
from leukemia.study.page import write_study
from leukemia.study.record import read_study
from tests.commands import seal
from tests.report.test_html import Page
from tests.study.test_study import make


def result(value):
    return {
        "accuracy": value,
        "macro_f1": value,
        "cancer_recall": value / 2,
        "cancer_specificity": value / 4,
    }


def grid(xs, ys, chart):
    """Two seeds; macro F1 0.5 at first, 0.01 more with each setting, 0.1 more for seed 1."""
    settings = [(x, y) for x in xs for y in ys]
    return [
        ({"seed": str(seed), "loss.x": x, "loss.y": y}, result(0.5 + 0.01 * i + 0.1 * seed))
        for seed in (0, 1)
        for i, (x, y) in enumerate(settings)
    ], chart


def study_of(folder, trials, chart):
    study = make(folder, trials, chart=chart)
    for trial in study.trials:
        losses = [1.0, 0.5, 0.25][: 2 + int(trial.settings["seed"])]
        rows = [
            {"stage": "head", "epoch": epoch, "val_nll": x, "val_accuracy": 1 - x}
            for epoch, x in enumerate(losses)
        ]
        write_history(trial.path / "history.csv", rows)
        if trial.status == "done":
            seal(trial.path)
    return read_study(folder)


def test_the_heat_map_holds_means_over_seeds_at_their_places(tmp_path):
    study = study_of(tmp_path, *grid(["10", "2"], ["0", "0.5", "1"], "heatmap"))
    figure = heatmap(study)
    assert len(figure.axes) == 3
    first = figure.axes[0]
    assert [t.get_text() for t in first.get_yticklabels()] == ["2", "10"]  # by number
    assert [t.get_text() for t in first.get_xticklabels()] == ["0", "0.5", "1"]
    expected = [[0.58, 0.59, 0.6], [0.55, 0.56, 0.57]]
    np.testing.assert_allclose(first.images[0].get_array(), expected)
    assert first.texts[0].get_text() == "0.580\n±0.050"


def test_one_seed_alone_has_no_spread_in_the_heat_map(tmp_path):
    trials, chart = grid(["1"], ["1", "2"], "heatmap")
    alone = [trial for trial in trials if trial[0]["seed"] == "0"]
    texts = heatmap(study_of(tmp_path, alone, chart)).axes[0].texts
    assert [text.get_text() for text in texts] == ["0.500", "0.510"]


def test_bars_name_files_without_their_folders(tmp_path):
    trials, _ = grid(["null", "/far/away/layer3.pth"], ["0.5"], "bars")
    names = bars(study_of(tmp_path, trials, "bars")).axes[0].get_yticklabels()
    assert [name.get_text() for name in names] == ["x=null y=0.5", "x=layer3.pth y=0.5"]


def test_a_cell_without_a_finished_trial_stays_empty(tmp_path):
    trials, chart = grid(["1", "2"], ["1", "2"], "heatmap")
    trials[3] = (trials[3][0], None)
    trials[7] = (trials[7][0], None)
    values = heatmap(study_of(tmp_path, trials, chart)).axes[0].images[0].get_array()
    assert np.isnan(np.asarray(values)).tolist() == [[False, False], [False, True]]


def test_bars_are_means_with_students_interval_and_a_dot_a_seed(tmp_path):
    trials = [({"seed": str(i), "model": "vgg"}, result(v)) for i, v in enumerate((0.4, 0.5, 0.6))]
    axes = bars(study_of(tmp_path, trials, "bars")).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.5])
    assert axes.lines[0].get_xdata().tolist() == [0.4, 0.5, 0.6]
    (whisker,) = axes.collections[0].get_segments()
    # 4.302653 is the 0.975 quantile of Student's t with two degrees of freedom.
    half = 4.302653 * 0.1 / np.sqrt(3)
    assert whisker[:, 0].tolist() == pytest.approx([0.5 - half, 0.5 + half], abs=1e-6)
    assert mean_interval([0.5]) is None


def test_curves_average_the_seeds_that_reached_an_epoch(tmp_path):
    study = study_of(tmp_path, *grid(["a", "b"], ["1"], "curves"))
    figure = curves(study)
    top = figure.axes[0]
    assert top.get_title(loc="left") == "x=a"
    assert top.lines[0].get_ydata().tolist() == [1.0, 0.5, 0.25]
    assert len(figure.axes) == 4


def test_a_study_on_a_leaking_split_says_so(tmp_path):
    leaky = [({"seed": "0"}, {**result(0.5), "leaky": True}), ({"seed": "1"}, None)]
    study = make(tmp_path, leaky)
    assert study.leaky
    write_study(study)
    assert "LEAKY SPLIT: Study toy" in Page((tmp_path / "report.html").read_text()).text


@pytest.mark.parametrize(
    ("chart", "names"),
    [("bars", ["bars"]), ("heatmap", ["bars", "heatmap"]), ("curves", ["bars", "curves"])],
)
def test_a_study_is_written_with_its_figures(chart, names, tmp_path):
    trials, _ = grid(["1", "2"], ["1", "2"], chart)
    trials[5] = (trials[5][0], "OSError: <disk>\n")
    write_study(study_of(tmp_path, trials, chart))
    files = sorted(path.stem for path in (tmp_path / "figures").iterdir())
    assert files == names
    for name in names:
        with Image.open(tmp_path / "figures" / f"{name}.png") as drawn:
            assert min(drawn.size) > 200
    page = Page((tmp_path / "report.html").read_text())
    assert page.open == []
    assert len(page.all("img")) == len(names)
    assert "8 trials: 7 done, 1 failed" in page.text
    assert "OSError: <disk>" in page.text
    assert "Not chosen yet: the test part is closed." in page.text
    assert (tmp_path / "trials.csv").is_file()


@pytest.mark.parametrize("chart", ["bars", "heatmap"])
def test_an_undefined_figure_is_said_to_be(chart, tmp_path):
    trials, _ = grid(["1", "2"], ["1", "2"], chart)
    for _, figures in trials:
        figures["cancer_specificity"] = None
    write_study(study_of(tmp_path, trials, chart))
    page = Page((tmp_path / "report.html").read_text())
    assert "n/a" in page.text
    assert "nan" not in page.text


def test_a_study_whose_trials_all_wait_can_be_written(tmp_path):
    study = make(tmp_path, [({"x": "a"}, None)])
    assert draw(study) == {}
    write_study(study)
    assert "1 trials: 1 waiting" in Page((tmp_path / "report.html").read_text()).text
