"""The hydrograph: a whole PNG of the right size, with the words that belong on it."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from model.evaluation.metrics import evaluate
from model.output.figures import hydrograph, hydrograph_figure


@pytest.fixture
def head():
    """The arguments of one head's figure: half a year of days with one large flood."""
    rng = np.random.default_rng(0)
    times = np.datetime64("2021-01-01") + np.arange(180)
    rain = rng.gamma(0.3, 10.0, times.size)
    rain[90] = 120.0
    observed = np.convolve(rain, 0.5 * 0.7 ** np.arange(20))[: times.size] + 1.0
    simulated = observed * 0.9
    return {
        "times": times,
        "observed": observed,
        "simulated": simulated,
        "rain": rain,
        "title": "01234567 A Creek",
        "scores": evaluate(simulated, observed),
    }


def words(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def shown(figure):
    """The panels: rain and discharge of the whole period, rain and discharge of the event."""
    return figure.axes


def test_the_png_is_whole_and_alone(head, tmp_path):
    path = hydrograph(tmp_path / "head.png", **head)
    assert path == tmp_path / "head.png"
    assert [file.name for file in tmp_path.iterdir()] == ["head.png"]
    assert path.read_bytes().startswith(b"\x89PNG")
    image = imread(path)
    assert image.shape == (768, 1760, 4)
    assert image[..., :3].min() < 0.2 < 0.9 < image[..., :3].mean()  # drawn, and mostly white


def test_the_same_input_gives_the_same_file(head, tmp_path):
    one, two = (hydrograph(tmp_path / name, **head) for name in ("one.png", "two.png"))
    assert one.read_bytes() == two.read_bytes()


def test_a_figure_is_replaced_and_never_overwritten_in_place(head, tmp_path):
    path, reader = tmp_path / "head.png", tmp_path / "reader"
    path.write_bytes(b"before")
    reader.hardlink_to(path)  # stands for someone who has the old file open
    hydrograph(path, **head)
    assert reader.read_bytes() == b"before"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_figure_before_stays_when_drawing_fails(head, tmp_path, monkeypatch):
    path = tmp_path / "head.png"
    path.write_bytes(b"before")

    def full_disk(self, target, **options):
        target.write(b"half a")
        raise OSError("no space left on device")

    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="no space left"):
        hydrograph(path, **head)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_dollars_in_a_name_are_no_formula(head, tmp_path):
    hydrograph(tmp_path / "head.png", **head | {"title": r"Creek $\old$ and $_$"})


def test_title_scores_floors_and_note_are_on_it(head):
    head["scores"] = {"nse": 0.876, "kge": np.nan, "pbias": -3.14, "n": 180, "kge_r": 0.5}
    figure = hydrograph_figure(
        **head, note="synthetic sample world", baselines={"persistence": 0.219, "ridge": np.nan}
    )
    drawn = words(figure)
    assert "01234567 A Creek" in drawn
    assert "NSE 0.88   KGE \u2013   PBIAS \u22123.1 %   n = 180" in drawn
    assert "NSE of the floors:   persistence 0.22   ridge \u2013" in drawn
    note = next(t for t in figure.findobj(Text) if t.get_text() == "synthetic sample world")
    assert note.get_visible()
    assert {"observed", "simulated", "discharge\n(m³ s⁻¹)", "rain\n(mm per day)"} <= set(drawn)
    assert not any("synthetic" in word for word in words(hydrograph_figure(**head)))


def test_the_note_changes_the_picture(head, tmp_path):
    plain, noted = tmp_path / "plain.png", tmp_path / "noted.png"
    hydrograph(plain, **head)
    hydrograph(noted, **head, note="synthetic sample world")
    yellow = np.array([0xF0, 0xE4, 0x42]) / 255
    for path, expected in ((plain, False), (noted, True)):
        pixels = np.abs(imread(path)[:100, 880:, :3] - yellow).max(axis=-1) < 0.01
        assert (pixels.sum() > 1000) == expected


@pytest.mark.parametrize("note", [None, "synthetic sample world"])
def test_everything_stays_on_the_page_and_apart(head, note):
    head["title"] = "0123456789 " + "A Creek with a Very Long Name near " * 5
    figure = hydrograph_figure(
        **head, note=note, baselines={"persistence": 0.2, "climatology": -0.1, "ridge": 0.7}
    )
    figure.draw_without_rendering()
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in [*figure.texts, *(axis.yaxis.label for axis in figure.axes)]
        if text.get_text()
    ]
    boxes.append(("legend", figure.legends[0].get_window_extent()))
    for i, (name, box) in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0, name  # noqa: PT018
        assert box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height, name  # noqa: PT018
        for other, second in boxes[:i]:
            assert not box.overlaps(second), (name, other)


def test_the_right_panels_hold_the_largest_observed_event(head):
    head["simulated"][20] = 500.0  # the simulation's own, elsewhere
    figure = hydrograph_figure(**head)
    whole, event = (shown(figure)[i].get_xlim() for i in (1, 3))
    day = (head["times"] - np.datetime64("1970-01-01")).astype(float)
    peak = day[head["observed"].argmax()] + 0.5  # the middle of its step
    assert event == (peak - 6, peak + 12)
    assert whole == (day[0], day[-1] + 1)
    assert "largest observed event (shaded on the left)" in words(figure)
    for panel in (1, 3):
        low, high = shown(figure)[panel].get_ylim()
        assert low == 0.0
        assert high > 500.0


def test_rain_hangs_from_the_top(head):
    for panel in (0, 2):
        low, high = shown(hydrograph_figure(**head))[panel].get_ylim()
        assert low > 120.0 > high == 0.0


def test_hours_gaps_and_years_are_drawn(head, tmp_path):
    hours = head | {
        "times": np.datetime64("2021-01-01T00", "h") + np.arange(180),
        "observed": np.where(np.arange(180) % 50 < 5, np.nan, head["observed"]),
        "rain": np.where(np.arange(180) == 7, np.nan, head["rain"]),
    }
    assert "rain\n(mm per hour)" in words(hydrograph_figure(**hours))
    hydrograph(tmp_path / "hours.png", **hours)
    for n in (2, 100, 4000, 20000):
        long = {name: np.resize(head[name], n) for name in ("observed", "simulated", "rain")}
        figure = hydrograph_figure(
            **head | long | {"times": np.datetime64("1960-01-01") + np.arange(n)}
        )
        figure.draw_without_rendering()
        assert 1 <= len(shown(figure)[1].get_xticks()) <= 12


def test_a_head_without_observations_or_rain_is_drawn(head, tmp_path):
    nothing = np.full(180, np.nan)
    hydrograph(tmp_path / "no_obs.png", **head | {"observed": nothing})
    hydrograph(tmp_path / "dry.png", **head | {"rain": np.zeros(180)})
    hydrograph(
        tmp_path / "no_flow.png", **head | dict.fromkeys(["observed", "simulated"], [0.0] * 180)
    )
    figure = hydrograph_figure(**head | {"observed": nothing})
    assert "largest simulated event (shaded on the left)" in words(figure)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rain": np.zeros(3)}, r"one length, got times \(180,\).*rain \(3,\)"),
        ({"times": np.arange(180.0)}, "datetime64, got .180,. float64"),
        ({"times": np.datetime64("2021-01-01") - np.arange(180)}, "even steps"),
        ({"times": np.datetime64("2021-01-01") + np.arange(180) ** 2}, "even steps"),
        (
            dict.fromkeys(["observed", "simulated"], np.full(180, np.nan)),
            "A Creek: no finite discharge in 2021-01-01 to 2021-06-29",
        ),
    ],
)
def test_what_is_refused(head, change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        hydrograph(tmp_path / "head.png", **head | change)
    assert not list(tmp_path.iterdir())
