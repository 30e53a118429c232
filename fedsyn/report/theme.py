"""How figures look: two colour themes (the page shows the reader's), sizes, labels, and PNG without a date.

Matplotlib's object-oriented interface only: pyplot and rcParams are shared by all threads of a process.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from fedsyn.report.text import shorten

WIDTH = 8.4  # inches; every figure has the page's width
DPI = 160
MOST_TICKS = 20


@dataclass(frozen=True)
class Theme:
    """Colours by their meaning. A quantity keeps its colour through all figures of a report."""

    name: str
    paper: str
    ink: str
    muted: str
    grid: str
    before: str  # the classifier on labels only; pseudo-labels before selection
    after: str  # the retrained classifier; pseudo-labels after selection
    synthetic: str
    ramp: tuple[str, ...]  # of heat maps, from none to most

    @property
    def colormap(self) -> Colormap:
        """The sequential colours of heat maps; cells without a value are paper."""
        colormap = LinearSegmentedColormap.from_list(f"fedsyn-{self.name}", self.ramp)
        return colormap.with_extremes(bad=self.paper, under=self.paper)


LIGHT = Theme(
    name="light",
    paper="#ffffff",
    ink="#22262b",
    muted="#6c737d",
    grid="#e3e2dd",
    before="#8b95a3",
    after="#0f766e",
    synthetic="#d08a2e",
    ramp=("#eef4f2", "#b5d8d2", "#6db3ab", "#2b867e", "#0b4f4a"),
)
DARK = Theme(
    name="dark",
    paper="#1b1f23",
    ink="#e6e4df",
    muted="#98a0a8",
    grid="#343a40",
    before="#8793a1",
    after="#4fc7b8",
    synthetic="#e0a552",
    ramp=("#20292c", "#234a4a", "#2d7772", "#4fb5a8", "#c4f1e8"),
)


def new_figure(theme: Theme, height: float) -> Figure:
    """An empty figure of the page's width; `height` in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, wspace=0.03, hspace=0.03)
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout=layout, facecolor=theme.paper)


def dress(axes: Axes, theme: Theme, title: str = "", *, grid: str | None = None) -> None:
    """Give the axes the theme's colours: no box, thin rules along `grid` (x or y), a title at the left."""
    axes.set_facecolor(theme.paper)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(colors=theme.muted, labelcolor=theme.ink, labelsize=8, length=0, pad=4)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=theme.muted, fontsize=8.5)
    if grid:
        axes.grid(axis="x" if grid == "x" else "y", color=theme.grid, linewidth=0.8)
        axes.set_axisbelow(True)
    axes.set_title(title, loc="left", color=theme.ink, fontsize=9.5, fontweight="bold", pad=9)


def per_cent() -> FuncFormatter:
    """Ticks of a share in [0, 1]: `84 %`, and `84.5 %` where an axis is so short that it has ticks between."""
    return FuncFormatter(lambda share, _: f"{round(100 * share, 2) + 0:g} %")


def legend(axes: Axes, theme: Theme, *more: Axes) -> None:
    """A frameless legend of the axes, and of `more` of them, at the figure's foot, where it can hide no data."""
    drawn = [each.get_legend_handles_labels() for each in (axes, *more)]
    handles, labels = ([item for parts in kind for item in parts] for kind in zip(*drawn, strict=True))
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.legend(
        handles,
        labels,
        loc="outside lower left",
        ncols=4,
        frameon=False,
        fontsize=8,
        labelcolor=theme.ink,
        handlelength=1.4,
        columnspacing=1.6,
    )


def shown_ticks(count: int) -> range:
    """At most MOST_TICKS evenly spaced positions out of `count`, at steps that a person counts in."""
    steps = (factor * 10**power for power in range(12) for factor in (1, 2, 5))
    step = next(step for step in steps if count <= step * MOST_TICKS)
    return range(0, count, step)


def label_classes(axes: Axes, class_names: Sequence[str], axis: str = "x") -> None:
    """Name the classes along an axis: shortened, tilted if long, thinned if many, never read as maths."""
    ticks = shown_ticks(len(class_names))
    names = [shorten(class_names[tick]) for tick in ticks]
    if axis == "x":
        tilted = max(map(len, names)) > 3
        angle = 60 if tilted and len(ticks) > 12 else 40 if tilted else 0
        axes.set_xticks(ticks, names, rotation=angle, ha="right" if tilted else "center")
        if tilted:
            for label in axes.get_xticklabels():
                label.set_rotation_mode("anchor")
        plain(axes.get_xticklabels())
    else:
        axes.set_yticks(ticks, names)
        plain(axes.get_yticklabels())


def label_clients(axes: Axes, num_clients: int, title: str = "client") -> None:
    """Number the clients along the vertical axis, thinned where many."""
    ticks = shown_ticks(num_clients)
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.set_ylabel(title)


def plain(texts: Sequence[Text]) -> None:
    """Class names are the user's: a dollar sign in them is no formula."""
    for text in texts:
        text.set_parse_math(False)


def place_like(figure: Figure, drawn: Figure) -> None:
    """Put the axes where `drawn`, the same figure in another theme, has them. Layout is a third of the work."""
    figure.set_layout_engine("none")
    for axes, placed in zip(figure.axes, drawn.axes, strict=True):
        axes.set_position(placed.get_position(original=True), which="original")
        axes.set_position(placed.get_position(), which="active")


def png(figure: Figure) -> bytes:
    """The figure as PNG: equal figures give equal bytes (no date, no version of the software).

    The canvas draws it once, where `Figure.savefig` draws it twice to the same bytes.
    """
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()
