import numpy as np

from leukemia.report.mistakes import attention, attention_boxes
from tests.report.samples import ABC, findings, toy

SHARES = {
    "nuclei": np.array([0.1, 0.3, 0.5, 0.9, np.nan, np.nan]),
    "background": np.array([0.9, 0.7, 0.5, 0.1, np.nan, np.nan]),
}


def test_shares_are_told_by_class_and_what_has_no_map_is_left_out():
    source = "\n".join(attention(findings({"test": toy()}, attention={"test": SHARES})))
    assert '<th scope="row">A</th><td>0.20 [0.15, 0.25]</td><td>0.80 [0.75, 0.85]</td>' in source
    assert '<th scope="row">C</th><td>n/a</td><td>n/a</td>' in source
    assert "Attention off the cells is a warning" in source


def test_a_box_stands_for_a_class():
    nuclei, background = attention_boxes(toy(), SHARES).axes
    assert nuclei.get_title(loc="left") == "nuclei"
    assert [label.get_text() for label in background.get_xticklabels()] == list(ABC.names)
    medians = [line.get_ydata()[0] for line in nuclei.lines if line.get_linewidth() == 2]
    np.testing.assert_allclose(medians[:2], [0.2, 0.7])


def test_no_maps_no_section():
    assert list(attention(findings({"test": toy()}))) == []
    assert list(attention(findings({"test": toy()}, attention={"test": {}}))) == []
