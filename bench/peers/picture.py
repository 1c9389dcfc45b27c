"""The rows as one SVG picture: speed and time to solve as bars, both by powers of ten. Called by results.py."""

import math
from xml.sax.saxutils import escape

# Sizes in the SVG's own units, twice of what it is shown at, as in the other pictures of results/bench.
WIDTH = 1400
PADDING = 24
TITLE_HEIGHT = 60
BAR_HEIGHT = 38
AXIS_HEIGHT = 50
# Bars begin right of their names, and the longest ends left of the figures.
LEFT, RIGHT = 400, 1220

# Okabe and Ito's colours, as in the training report.
INK, MUTED, GRID, OTHERS, OURS = "#1C2128", "#5A6470", "#E3E7EC", "#0072B2", "#009E73"


def draw(rows, figure):
    """The picture; `figure` writes a number."""
    panels = [
        panel("frames consumed by learning per second", "", rows, "frames_per_s", figure),
        panel("from the start of the process until solved", " s", rows, "solved_s", figure),
    ]
    height, body = 0, []
    for panel_height, parts in panels:
        body += [f'<g transform="translate(0 {height})">', *parts, "</g>"]
        height += panel_height
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH // 2}" '
            f'height="{height // 2}" font-family="sans-serif">')
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="#FFFFFF"/>', *body, "</svg>"]) + "\n"


def panel(title, unit, rows, name, figure):
    """One figure of every row, as bars on a logarithmic axis: its height, and what is in it."""
    values = [row.get("summary", {}).get(name) for row in rows]
    low, high = decades(values)
    bottom = TITLE_HEIGHT + BAR_HEIGHT * len(rows)

    def x(value):
        return LEFT + (RIGHT - LEFT) * (math.log10(value) - low) / (high - low)

    parts = [text(PADDING, 38, title, size=28)]
    for power in range(low, high + 1):
        at = x(10.0**power)
        parts.append(f'<path d="M{at:.1f} {TITLE_HEIGHT}V{bottom}" stroke="{GRID}" stroke-width="2"/>')
        parts.append(text(at, bottom + 28, f"{10.0**power:,.{max(-power, 0)}f}{unit}", fill=MUTED, anchor="middle"))
    for k, (row, value) in enumerate(zip(rows, values)):
        parts += bar(row, value, TITLE_HEIGHT + BAR_HEIGHT * k, x, lambda value: figure(value) + unit)
    return bottom + AXIS_HEIGHT + PADDING, parts


def bar(row, value, top, x, written):
    middle = top + BAR_HEIGHT / 2 + 7
    parts = [text(LEFT - 12, middle, row["title"], anchor="end")]
    if value is None:
        has_figures = "summary" in row and row["summary"]["n_failed"] < row["summary"]["n_runs"]
        return [*parts, text(LEFT + 12, middle, "not reached" if has_figures else "failed", fill=MUTED)]
    colour = OURS if row["is_ours"] else OTHERS
    size = f'width="{x(value) - LEFT:.1f}" height="{BAR_HEIGHT - 12}"'
    return [*parts, f'<rect x="{LEFT}" y="{top + 6}" {size} fill="{colour}"/>',
            text(x(value) + 12, middle, written(value))]


def decades(values):
    """The powers of ten around all values: a bar begins at the first one, so none is as low as that."""
    logs = [math.log10(value) for value in values if value]
    if not logs:
        return 0, 1
    low = math.ceil(min(logs)) - 1
    return low, max(math.ceil(max(logs)), low + 1)


def text(x, y, words, size=22, fill=INK, anchor="start"):
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size}" fill="{fill}">{escape(words)}</text>'
