import io

import numpy as np

from tfprune.plots import style


def figure_with_everything_to_lay_out():
    figure = style.new_figure(6, 3)
    left, right = figure.subplots(1, 2)
    style.label(left, "Large numbers", "step", "loss").plot([0, 1, 2], [1e7, 3e7, 2e7], label="loss")
    style.legend(left, loc="best")
    image = style.picture(right, np.arange(6.0).reshape(2, 3), "A picture")
    figure.colorbar(image, ax=[left, right]).set_label("colours")
    figure.suptitle("Both")
    return figure


def test_a_figure_is_drawn_once_and_as_matplotlib_would_save_it(tmp_path):
    expected = io.BytesIO()
    figure_with_everything_to_lay_out().savefig(expected, format="png", metadata={"Software": None})
    figure, draws = figure_with_everything_to_lay_out(), []
    figure.canvas.mpl_connect("draw_event", draws.append)
    path = style.save_png(figure, tmp_path / "figure.png")
    assert path.read_bytes() == expected.getvalue()
    assert len(draws) == 1
