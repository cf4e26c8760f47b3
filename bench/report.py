"""From measurements to Markdown and SVG."""
import dataclasses
import statistics
from xml.sax.saxutils import escape


@dataclasses.dataclass
class Work:
    """What is measured; n_prompt or n_gen is 0."""
    n_prompt: int = 0
    n_gen: int = 0
    n_depth: int = 0
    n_batch: int = 1

    @property
    def label(self):
        if self.n_prompt:
            return f"prompt {self.n_prompt}"
        if self.n_batch > 1:
            return f"generate {self.n_gen}, {self.n_batch} sequences"
        return f"generate {self.n_gen}" + (f" at depth {self.n_depth}" if self.n_depth else "")


@dataclasses.dataclass
class Row:
    """Tokens a second of one work, as many samples as there were runs."""
    work: Work
    ours: list = dataclasses.field(default_factory=list)
    peer: list = dataclasses.field(default_factory=list)
    blas: list = dataclasses.field(default_factory=list)
    limits: list = dataclasses.field(default_factory=list)  # tokens a second that the machine could do; may be empty

    def ratio(self, others):
        return statistics.median(self.ours) / statistics.median(others) if others else None

    def share(self, samples):
        return statistics.median(samples) / statistics.median(self.limits) if samples and self.limits else None


@dataclasses.dataclass
class Model:
    name: str
    facts: str
    rows: list


def figure(samples):
    """The median, and between what it lies."""
    if not samples:
        return "-"
    digits = 1 if statistics.median(samples) < 1000 else 0
    text = [f"{v:.{digits}f}" for v in (statistics.median(samples), min(samples), max(samples))]
    return text[0] if len(samples) == 1 else f"{text[0]} ({text[1]} to {text[2]})"


def ratio(value):
    return "-" if value is None else f"{value:.2f}"


def share(value):
    return "-" if value is None else f"{value:.0%}"


def table(head, rows, others="---:"):
    """The first column is text, the others are numbers unless said otherwise."""
    lines = [head, ["---"] + [others] * (len(head) - 1), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def model_table(model):
    head = ["tokens/s", "libslm", "llama.cpp", "ratio", "libslm of limit", "llama.cpp of limit"]
    with_blas = any(r.blas for r in model.rows)
    rows = []
    for r in model.rows:
        cells = [r.work.label, figure(r.ours), figure(r.peer), ratio(r.ratio(r.peer)), share(r.share(r.ours)), share(r.share(r.peer))]
        rows.append(cells + [figure(r.blas), ratio(r.ratio(r.blas))] * with_blas)
    return table(head + ["OpenBLAS", "ratio"] * with_blas, rows)


NOTES = """\
Medians of all runs, then the slowest and the fastest; the ratio is that of the medians, above 1 where libslm is faster. The programs took turns, so whatever
slowed the machine down met all of them. The limit of a prompt is the rate at which this machine multiplies 8-bit integers, that of generation the rate
at which it reads memory (`slm bench`, measured in the same runs).
"""
BLAS_NOTE = """
OpenBLAS: the matrix products alone, by `cblas_sgemm` on weights that were dequantized to f32 before: no attention, no norms. That makes it an upper bound of
what a program written over it can reach; it also takes 4 bytes a weight.
"""


def markdown(name, facts, models):
    """`facts`: pairs of what is said about machine and versions. The chart is beside, as NAME.svg."""
    out = f"# libslm and llama.cpp, side by side\n\n![ratios]({name}.svg)\n\n" + table(["", ""], facts, "---")
    for m in models:
        out += f"\n## {m.name}\n\n{m.facts}\n\n{model_table(m)}"
    out += "\n## How to read this\n\n" + NOTES
    if any(r.blas for m in models for r in m.rows):
        out += BLAS_NOTE
    return out


# ---- The chart: a bar for each ratio, beside a line at 1 ----

LEFT, WIDTH, RIGHT, TOP, BAR, GAP = 230, 480, 70, 62, 16, 8
COLORS = {"llama.cpp": "#2f6f9f", "OpenBLAS": "#b9772b"}


def text(x, y, content, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}"{more and " " + more}>{escape(content)}</text>\n'


def bars(models):
    """(label, whose, ratio) of each bar, and None for the name of a model."""
    for m in models:
        yield m.name, None, None
        for r in m.rows:
            for whose, samples in (("llama.cpp", r.peer), ("OpenBLAS", r.blas)):
                if samples:
                    yield r.work.label, whose, r.ratio(samples)


def legend(shown):
    out, x = "", 10
    for whose, color in COLORS.items():
        if whose in shown:
            out += f'<rect x="{x}" y="36" width="12" height="12" fill="{color}"/>\n' + text(x + 18, 46, f"libslm / {whose}")
            x += 160
    return out


def svg(title, models):
    all_bars = list(bars(models))
    scale = WIDTH / max([1.0] + [v for *_, v in all_bars if v])
    full, height = LEFT + WIDTH + RIGHT, TOP + len(all_bars) * (BAR + GAP) + 12
    body, y, last = "", TOP, None
    for label, whose, value in all_bars:
        if whose is None:
            body += text(10, y + 12, label, 'font-weight="bold"')
        else:
            body += text(LEFT - 8, y + 12, label, 'text-anchor="end"') if label != last else ""
            body += f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{BAR}" fill="{COLORS[whose]}"/>\n'
            body += text(full - 10, y + 12, f"{value:.2f}", 'text-anchor="end"')
        last = label
        y += BAR + GAP
    one = LEFT + scale
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{full}" height="{height}" viewBox="0 0 {full} {height}" '
            'font-family="sans-serif" font-size="12" fill="#222">\n'
            f'<rect width="{full}" height="{height}" fill="#fff"/>\n'
            + text(10, 22, title, 'font-size="15" font-weight="bold"') + legend({w for _, w, _ in all_bars}) + body
            + text(one, TOP - 4, "1", 'text-anchor="middle"')
            + f'<line x1="{one:.1f}" y1="{TOP}" x2="{one:.1f}" y2="{height - 8}" stroke="#333"/>\n</svg>\n')
