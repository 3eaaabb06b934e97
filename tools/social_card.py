"""Draw book/assets/social-card.png, the picture that links to the published book show: python tools/social_card.py"""

from pathlib import Path

import matplotlib.pyplot as plt

from afli import activations as act
from afli import meanfield as mf

CARD = Path(__file__).resolve().parents[1] / "book" / "assets" / "social-card.png"
BACKGROUND, INK, QUIET = "#1b4f72", "#ffffff", "#9fc5e0"


def draw() -> plt.Figure:
    """1200 x 630 pixels: correlation against depth on the edge of chaos, for hard tanh of growing linear radius."""
    figure = plt.figure(figsize=(12, 6.3), dpi=100, facecolor=BACKGROUND)
    figure.text(0.1, 0.8, "AFLI Companion", color=INK, fontsize=48, fontweight="bold")
    figure.text(0.1, 0.69, "Activation functions for deep networks,", color=INK, fontsize=23)
    figure.text(0.1, 0.62, "every statement checked by code that ran", color=INK, fontsize=23)
    axes = figure.add_axes((0.1, 0.14, 0.74, 0.4), facecolor=BACKGROUND)
    for radius, width in ((1, 2.0), (10, 3.5), (40, 5.0)):
        path = mf.edge_of_chaos(act.shtanh(a=radius), sigma_b2=0.1).correlation_trajectory(0.2, 100)
        axes.plot(path, color=INK, linewidth=width)
        axes.annotate(f"a = {radius}", (102, path[-1]), va="center", color=INK, fontsize=17, annotation_clip=False)
    axes.set(xlim=(0, 100), ylim=(0, 1))
    axes.set_xlabel("layer", color=QUIET, fontsize=17)
    axes.set_ylabel("correlation", color=QUIET, fontsize=17)
    axes.tick_params(colors=QUIET, labelsize=13)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(QUIET)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    draw().savefig(CARD)
