"""The reports of slm compare: of made-up comparisons (report_mock.py), which report_driver reads and writes."""
import html.parser
import json
import math
import os
import re
import subprocess
import unittest
import xml.etree.ElementTree as ET

from program import O, TIMEOUT
import report_mock as mock

DASH, MINUS = "\u2013", "\u2212"
VOID = {"meta", "br", "hr", "img", "input", "link"}
EIGHT = mock.comparison()


def report(kind, comparison):
    done = subprocess.run([os.path.join(O, "tests", "report_driver"), kind], input=mock.words(comparison), capture_output=True, timeout=TIMEOUT)
    if done.returncode != 0 or done.stderr:
        raise AssertionError((done.returncode, done.stderr))
    return done.stdout


def text_of(element):
    return "".join(element.itertext())


# ---- Figures as the page should have them, by Python's own formatting ----

def signed(number, plus=False):
    if not re.search("[1-9]", number):
        return number.lstrip("-")
    return MINUS + number[1:] if number.startswith("-") else "+" + number if plus else number


def digits(value, n):
    if math.isnan(value):
        return DASH
    if value and abs(value) < 0.99e-5:
        return signed(f"{value:.{n - 1}e}")
    return signed(f"{value:.{max(0, n - 1 - math.floor(math.log10(abs(value))))}f}" if value else "0")


def estimate(e, factor=1, plus=False, unit="", less=0):
    value, error = (e["value"] - less) * factor, e["error"] * factor
    if math.isnan(value):
        return DASH
    if error > 0:
        decimals = max(0, 1 - math.floor(math.log10(error)))
        return signed(f"{value:.{decimals}f}", plus) + f"\u00a0±\u00a0{error:.{decimals}f}" + unit
    return signed(f"{value:.{max(0, 3 - math.floor(math.log10(abs(value))))}f}" if value else "0", plus) + unit


def size(n):
    value, unit = next((n / f, u) for f, u in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if n >= 0.9995 * f)
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"


def seconds(t):
    return f"{t * 1e3:.0f} ms" if t < 0.9995 else f"{t:.1f} s"


def percent(share, decimals=1):
    return signed(f"{100 * share:.{decimals}f}") + "%"


# ---- The page ----

class Page:
    def __init__(self, comparison):
        self.bytes = report("html", comparison)
        self.text = self.bytes.decode()  # UTF-8 whatever the texts were
        self.tree = ET.fromstring(self.text)  # well-formed: all is nested and quoted as it should be

    def all(self, tag, class_name=None):
        return [e for e in self.tree.iter(tag) if class_name is None or class_name in e.get("class", "").split()]

    def table(self, title):
        """Head and rows, as texts; the cells' own lists of texts where they have parts."""
        for box in self.all("div", "scroll"):
            if box.get("aria-label") == title:
                rows = [[text_of(cell) for cell in row] for row in box.iter("tr")]
                return rows[0], rows[1:]
        raise AssertionError(title)

    def figure(self, title):
        return next(f for f in self.all("figure") if text_of(f.find("h3")) == title)


class Checker(html.parser.HTMLParser):
    """What an XML parser lets through and HTML does not."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.inside_svg = [], [], 0

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag in VOID:
            self.wrong.append(("void, but open", tag))

    def handle_startendtag(self, tag, attrs):
        if tag not in VOID and "svg" not in self.open:
            self.wrong.append(("closed itself", tag))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(("closed", tag))


class Report(unittest.TestCase):
    def check_page(self, comparison):
        page = Page(comparison)
        checker = Checker()
        checker.feed(page.text)
        self.assertEqual((checker.wrong, checker.open), ([], []))
        self.assertTrue(page.text.startswith("<!DOCTYPE html>\n"))
        ids = [e.get("id") for e in page.tree.iter() if e.get("id")]
        self.assertEqual(len(ids), len(set(ids)))
        for e in page.tree.iter():
            self.assertIn(e.get("href", "#")[0], "#", e.tag)
            self.assertIn(e.get("href", "#")[1:], ids + [""])
            for name in e.attrib:
                self.assertFalse(name.startswith("on") or name in ("src", "srcset", "action", "data", "poster", "background", "{"), name)
            for name in (e.get("aria-labelledby") or "").split():
                self.assertIn(name, ids)
        self.assertEqual({e.tag for e in page.tree.iter()} & {"script", "link", "iframe", "object", "embed", "base", "img", "form"}, set())
        self.assertNotRegex(text_of(page.all("style")[0]), r"url\(|@import|expression|http")
        for svg in page.all("svg"):
            self.assertEqual([svg[0].tag, svg[1].tag, svg.get("role")], ["title", "desc", "img"])
            self.check_drawing(svg)
        for table in page.all("table"):
            self.assertEqual(len({sum(int(cell.get("colspan", 1)) for cell in row) for row in table.iter("tr")}), 1)
        shown = re.sub(r"<style>.*?</style>", "", page.text, flags=re.S)
        self.assertNotRegex(shown, r"(?i)[^a-z](nan|inf)[^a-z]")
        return page

    def check_drawing(self, svg):
        """Everything within the picture, and texts that do not lie on one another (half an em per character)."""
        _, _, width, height = map(float, svg.get("viewBox").split())
        boxes = []
        for t in svg.iter("text"):
            x, y, kind = float(t.get("x")), float(t.get("y")), t.get("class").split()
            wide = 6 * len(text_of(t)) * (0.5 if "name" in kind else 1)
            anchor = "middle" if "mid" in kind else "end" if "end" in kind else t.get("text-anchor", "start")
            left = x - {"start": 0, "middle": wide / 2, "end": wide}[anchor]
            self.assertTrue(-12 <= left and left + wide <= width + 12 and 0 < y <= height, (text_of(t), left, wide))
            boxes.append((left, y - 8, left + wide, y, text_of(t)))
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                self.assertFalse(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3], (a, b))
        for e in svg.iter():
            for name in ("cx", "cy"):
                if e.get(name):
                    self.assertTrue(0 < float(e.get(name)) < (width if name == "cx" else height))


class Html(Report):
    @classmethod
    def setUpClass(cls):
        cls.page = Page(EIGHT)

    def test_well_formed(self):
        page = self.check_page(EIGHT)
        self.assertLess(len(page.bytes), 300_000)
        self.assertNotIn("http", page.text)
        self.assertEqual([len(page.all(h)) for h in ("h1", "main", "nav", "style")], [1, 1, 1, 1])

    def test_quality(self):
        _, (reference, *rows) = self.page.table("KL divergence")
        self.assertEqual(reference, ["F32"] + [DASH] * 6)
        for k, row in zip(EIGHT["candidates"], rows, strict=True):
            self.assertEqual(row[1:], [estimate(k["kl"]["mean"])] + [digits(k["kl"][f], 3) for f in ("median", "p90", "p99", "p999", "max")])
        _, (reference, *rows) = self.page.table("First choices and perplexity")
        self.assertEqual(reference[2], estimate(EIGHT["reference"]["perplexity"]))
        for k, row in zip(EIGHT["candidates"], rows, strict=True):
            self.assertEqual(row[1:], [estimate(k["agreement"], 100, unit="%"), estimate(k["about"]["perplexity"]),
                                       estimate(k["ppl_ratio"], 100, True, "%", 1), estimate(k["dp_mean"], 100, True, "%"),
                                       estimate(k["dp_rms"], 100, unit="%")])

    def test_size_and_speed(self):
        subjects = [EIGHT["reference"]] + [k["about"] for k in EIGHT["candidates"]]
        for s, row in zip(subjects, self.page.table("Size")[1], strict=True):
            share = s["file_bytes"] / subjects[0]["file_bytes"]
            self.assertEqual(row[1:], [size(s["file_bytes"]), "100%" if s is subjects[0] else percent(share), digits(s["bits_per_weight"], 3),
                                       f"{s['n_params']:,}", size(s["tensor_bytes"])])
        for s, row in zip(subjects, self.page.table("Speed and memory")[1], strict=True):
            self.assertEqual(row[1:], [digits(s["prefill"], 3), percent(s["prefill_share"], 0), digits(s["decode"], 3),
                                       percent(s["decode_share"], 0), seconds(s["load_seconds"]), size(s["memory_bytes"])])

    def test_layers(self):
        head, rows = self.page.table("From the first layer to the last")
        self.assertEqual(head[1:], [str(l) for l in range(mock.N_LAYER)] + ["last"])
        box = next(b for b in self.page.all("div", "scroll") if b.get("aria-label") == "From the first layer to the last")
        cells = [row.findall("td")[:-1] for row in box.iter("tr")][1:]
        by_value = []
        for k, row, shades in zip(EIGHT["candidates"], rows, cells, strict=True):
            for l, (v, cell) in enumerate(zip(k["layer_error"], shades, strict=True)):
                self.assertEqual(cell.get("title"), f"layer {l}: {digits(100 * v, 3)}%")
                by_value.append((v, int(cell.get("class")[-1])))
            self.assertRegex(row[-1], r"^\d+\.\d+%$")
            self.assertAlmostEqual(float(row[-1][:-1]), 100 * k["layer_error"][-1], delta=0.06)
        shades = [shade for _, shade in sorted(by_value)]
        self.assertEqual(shades, sorted(shades))  # the larger the darker
        self.assertEqual(set(shades), set(range(10)))

    def test_groups(self):
        for title, field in (("By position in the window", "positions"), ("By kind of token", "kinds")):
            head, rows = self.page.table(title)
            groups = EIGHT["candidates"][0][field]
            self.assertEqual(head[1:], [g["label"] + f"{g['n']:,}" for g in groups])
            for k, row in zip(EIGHT["candidates"], rows, strict=True):
                self.assertEqual(row[1:], [digits(g["kl"], 3) + percent(g["agreement"]) for g in k[field]])

    def test_tasks(self):
        head, rows = self.page.table("Right answers")
        self.assertEqual(head[1:], EIGHT["task_names"])
        for s, row in zip([EIGHT["reference"]] + [k["about"] for k in EIGHT["candidates"]], rows, strict=True):
            self.assertEqual(row[1:], [x for t in s["tasks"] for x in (str(t["n_right"]), estimate(t["accuracy"], 100, unit="%"))])
        for i, name in enumerate(EIGHT["task_names"]):
            figure = self.page.figure(name)
            note = text_of(figure.find("p"))
            self.assertIn(f"{EIGHT['task_sizes'][i]} questions", note)
            self.assertIn(estimate(EIGHT["reference"]["tasks"][i]["accuracy"], 100, unit="%"), note)
            self.assertIn(percent(EIGHT["task_guess"][i], 0), note)
            titles = [text_of(g.find("title")) for g in figure.iter("g")]
            tasks = [k["about"]["tasks"][i] for k in EIGHT["candidates"]]
            spans = [f"{signed('%.2f' % (100 * t['difference']['value']))}, 95% from {signed('%.2f' % (100 * t['low']))} to "
                     f"{signed('%.2f' % (100 * t['high']))}" for t in tasks]
            self.assertEqual([t.split(": ")[1] for t in titles], spans)
            # to scale: a point, and the ends of its whisker
            scale = []
            for g, t in zip(figure.iter("g"), tasks):
                low, high = re.findall(r"M([\d.]+) [\d.]+v8", g.find("path").get("d"))
                scale += [(t["low"], float(low)), (t["high"], float(high)), (t["difference"]["value"], float(g.find("circle").get("cx")))]
            self.assert_affine(scale)

    def assert_affine(self, pairs):
        (x0, y0), (x1, y1) = min(pairs), max(pairs)
        for x, y in pairs:
            self.assertAlmostEqual(y, y0 + (x - x0) / (x1 - x0) * (y1 - y0), delta=0.11)

    def test_plots(self):
        kl = lambda k: math.log(k["kl"]["mean"]["value"])
        same = lambda k: k["agreement"]["value"]
        about = lambda field: lambda k: k["about"][field]
        views = {"Divergence and size": (about("file_bytes"), kl, -1, -1), "First choices and size": (about("file_bytes"), same, -1, 1),
                 "Divergence and decode speed": (about("decode"), kl, 1, -1), "Divergence and prefill speed": (about("prefill"), kl, 1, -1)}
        for title, (fx, fy, sx, sy) in views.items():
            figure = self.page.figure(title)
            dots = [(e.find("title").text.split(":")[0], e.find("circle")) for e in figure.iter("g") if e.find("circle") is not None]
            self.assertEqual(sorted(name for name, _ in dots), sorted(self.names()))
            by_name = dict(zip(self.names(), EIGHT["candidates"]))
            self.assert_affine([(fx(by_name[n]), float(c.get("cx"))) for n, c in dots])
            self.assert_affine([(fy(by_name[n]), float(c.get("cy"))) for n, c in dots])
            for n, c in dots:
                x, y = sx * fx(by_name[n]), sy * fy(by_name[n])
                beaten = any(sx * fx(k) >= x and sy * fy(k) >= y for m, k in by_name.items() if m != n)
                self.assertEqual("best" in c.get("class"), not beaten, (title, n))
            labels = [text_of(t) for t in figure.iter("text") if "label" in t.get("class")]
            self.assertEqual(sorted(labels), sorted(self.names() + ["F32"]))
            self.assertEqual(sum("reference" in p.get("class", "") for p in figure.iter("path")), 1)

    def names(self):
        return [row[0] for row in self.page.table("Size")[1]][1:]

    def test_names_are_short_and_differ(self):
        self.assertEqual(self.names(), [r[0] for r in mock.ROWS[:-1]] + ["auto-4.5"])
        typed = mock.comparison(mock.ROWS[:-1], path="models/any.gguf")
        self.assertEqual([row[0] for row in Page(typed).table("Size")[1]], ["F32"] + [r[0] for r in mock.ROWS[:-1]])
        alike = mock.comparison([mock.ROWS[3]] * 3)
        self.assertEqual([row[0] for row in Page(alike).table("Size")[1]][1:], [f"{i}. SmolLM2-135M-Instruct.Q4_K_M" for i in (1, 2, 3)])
        for i, k in enumerate(alike["candidates"]):
            k["about"]["path"] = f"models/by-{'abc'[i]}/model.gguf"
        self.assertEqual([row[0] for row in Page(alike).table("Size")[1]][1:], [f"{x}/model" for x in "abc"])
        long = mock.comparison([mock.ROWS[3]] * 2)
        for i, k in enumerate(long["candidates"]):
            k["about"]["path"] = "Ä" * 40 + f"é{'Z' * 40}{i}.gguf"
        self.assertEqual([row[0] for row in Page(long).table("Size")[1]][1:], ["Ä" * 14 + "…" + "Z" * 12 + i for i in "01"])

    def test_texts(self):
        rows = self.page.all("article", "parting")
        self.assertEqual(len(rows), 3 * len(EIGHT["candidates"]))
        parts = [(t, k) for t in range(3) for k in EIGHT["candidates"]]
        for row, (t, k) in zip(rows, parts, strict=True):
            d = k["departures"][t]
            text = text_of(row)
            self.assertIn(d["shared"].strip(), text)
            if d["n_shared"] < d["n_tokens"]:
                self.assertIn(f"{d['n_shared']} of {d['n_tokens']} tokens", text)
                self.assertEqual([q.text for q in row.iter("q")], [d["reference"][1:], d["candidate"][1:]])
            else:
                self.assertIn(f"all {d['n_tokens']} tokens", text)
        self.assertEqual([text_of(p) for p in self.page.all("p", "prompt")], ["…" + mock.PROMPT] * 3)

    def test_machine_command_files(self):
        text = text_of(self.page.all("section")[-1])
        for s in (EIGHT["machine"], "31.7 GB/s", "0.918 TOPS", "8 min 32 s"):
            self.assertIn(s, text)
        self.assertEqual(self.page.all("code")[0].text, EIGHT["command"])
        self.assertEqual([row[2] for row in self.page.table("Files")[1]],
                         [EIGHT["reference"]["path"]] + [k["about"]["path"] for k in EIGHT["candidates"]])
        head = text_of(self.page.all("header")[0])
        for s in ("12,240 scored positions of long_text.txt", "24,576 tokens in 48 windows of 512", EIGHT["date"], EIGHT["program"]):
            self.assertIn(s, head)

    def verdict(self, e, least):
        if abs(e["value"] - least) < 1.96 * e["error"]:
            return "~ not clear"
        return "✓ yes" if e["value"] >= least else "✗ no"

    def test_claim(self):
        reference = EIGHT["reference"]
        right = sum(t["n_right"] for t in reference["tasks"])
        for k, row in zip(EIGHT["candidates"], self.page.table("The claim, figure by figure")[1], strict=True):
            smaller = {"value": 1 - k["about"]["file_bytes"] / reference["file_bytes"], "error": 0}
            halved = {"value": 1 - k["about"]["bits_per_weight"] / 16, "error": 0}
            ratio = k["ppl_ratio"]
            kept = {"value": 1 / ratio["value"], "error": ratio["error"] / ratio["value"] ** 2}
            tasks = k["about"]["tasks"]
            error = math.sqrt(sum((n * t["difference"]["error"]) ** 2 for n, t in zip(EIGHT["task_sizes"], tasks)))
            answers = {"value": sum(t["n_right"] for t in tasks) / right, "error": error / right}
            expected = []
            for e, least in ((smaller, 0.75), (halved, 0.75), (k["agreement"], 0.95), (kept, 0.95), (answers, 0.95)):
                expected.append((estimate(e, 100, unit="%") if e["error"] else percent(e["value"])) + self.verdict(e, least))
            self.assertEqual(row[1:], expected)
        answer = text_of(self.page.all("p", "answer")[0])
        best = EIGHT["candidates"][-1]  # of 4 bits, and the lowest divergence
        self.assertTrue(answer.startswith("4 bits (auto-4.5): 85.7% smaller than the reference (71.9% smaller than 16 bits per weight), the same first choice at "
                                          + estimate(best["agreement"], 100, unit="%") + " of the positions, perplexity "
                                          + estimate(best["ppl_ratio"], 100, True, "%", 1)), answer)

    def test_claim_without_four_bits(self):
        page = Page(mock.comparison(mock.ROWS[:3]))
        self.assertTrue(text_of(page.all("p", "answer")[0]).startswith("Q5_K_M: 82.0% smaller"))
        self.assertIn("No file of 4 bits", page.text)
        half = mock.comparison(mock.ROWS[3:4], tasks=[])
        half["reference"].update(bits_per_weight=16.0, file_bytes=269_000_000)
        self.assertEqual(Page(half).table("The claim, figure by figure")[0][1:], ["smaller≥ 75%?", "same first choices≥ 95%?", "perplexity kept≥ 95%?"])
        larger = mock.comparison(mock.ROWS[3:4])
        larger["reference"]["file_bytes"] = 80_000_000
        self.assertIn("5.5% larger", text_of(Page(larger).all("p", "answer")[0]))


def cleaned(raw):
    """What a page shows of bytes."""
    out, rest = "", raw if isinstance(raw, bytes) else raw.encode()
    while rest:
        n = next((n for n in (1, 2, 3, 4) if is_utf8(rest[:n])), 0)
        c = rest[:n].decode() if n else "\ufffd"
        code = ord(c)
        bad = (code < 32 and c not in "\n\t") or 0x7f <= code < 0xa0 or c in "\u061c\ufeff\u200b\u200e\u200f" or 0x2028 <= code <= 0x202e \
            or 0x2066 <= code <= 0x2069 or code & 0xfffe == 0xfffe or 0xfdd0 <= code <= 0xfdef
        out += "\ufffd" if bad else c
        rest = rest[n or 1:]
    return out


def is_utf8(b):
    try:
        return len(b.decode()) == 1
    except UnicodeDecodeError:
        return False


class Edges(Report):
    def test_hostile_texts(self):
        c = mock.hostile(EIGHT)
        page, plain = self.check_page(c), Page(EIGHT)
        # nothing of a text became markup
        self.assertEqual({e.tag for e in page.tree.iter()}, {e.tag for e in plain.tree.iter()})
        self.assertEqual({a for e in page.tree.iter() for a in e.attrib}, {a for e in plain.tree.iter() for a in e.attrib})
        blank = lambda s: re.sub(r"\s+", " ", s)
        self.assertEqual(blank(page.all("code")[0].text or ""), blank(cleaned(c["command"])))
        self.assertEqual([blank(row[2]) for row in page.table("Files")[1]],
                         [blank(cleaned(s["path"])) for s in [c["reference"]] + [k["about"] for k in c["candidates"]]])
        quotes = [blank(text_of(q)).strip() for q in page.all("q")]
        parted = [d for t in range(3) for d in (k["departures"][t] for k in c["candidates"]) if d["n_shared"] < d["n_tokens"]]
        self.assertEqual(quotes, [blank(cleaned(d[f])).strip() for d in parted for f in ("reference", "candidate")])

    def test_all_unknown(self):
        c = mock.unknown(EIGHT)
        page = self.check_page(c)
        for title in ("KL divergence", "First choices and perplexity", "Size", "Speed and memory"):
            for row in page.table(title)[1]:
                self.assertEqual(set(row[1:]), {DASH}, (title, row))
        self.assertEqual(page.all("circle"), [])
        self.assertEqual(page.text.count("No file has both figures."), 4)
        self.assertIn("Nothing that answers this was measured.", page.text)

    def test_one(self):
        page = self.check_page(mock.comparison(mock.ROWS[3:4]))
        self.assertEqual(text_of(page.all("h1")[0]), "1 file beside SmolLM2-135M-Instruct.F32.gguf")
        self.assertEqual(len(page.all("circle")), 4 + len(mock.TASKS))

    def test_none(self):
        page = self.check_page(mock.comparison([]))
        self.assertEqual((page.all("circle"), page.all("svg")), ([], []))

    def test_forty(self):
        page = self.check_page(mock.many(40))
        self.assertEqual(len(page.table("Size")[1]), 41)
        self.assertEqual(len(page.all("circle")), 40 * (4 + len(mock.TASKS)))
        self.assertLess(len(page.bytes), 600_000)

    def test_no_tasks_many_layers(self):
        page = self.check_page(mock.comparison(mock.ROWS[:4], tasks=[], n_layer=80))
        self.assertNotIn('id="tasks"', page.text)
        self.assertEqual(len(page.table("From the first layer to the last")[0]), 82)

    def test_some_without_layers(self):
        c = mock.comparison(mock.ROWS[:3])
        c["candidates"][1]["layer_error"] = None
        c["candidates"][2]["layer_error"][4] = math.nan
        rows = self.check_page(c).table("From the first layer to the last")[1]
        self.assertEqual(rows[1][1:], ["not comparable", DASH])
        self.assertEqual(rows[2][5], DASH)

    def test_extreme_numbers(self):
        c = mock.comparison(mock.ROWS[:6])
        k = c["candidates"]
        k[0]["kl"]["mean"] = {"value": 0.0, "error": 0.0}  # the same model
        k[1]["kl"]["mean"] = {"value": -3e-12, "error": 1e-12}
        k[2]["kl"].update(mean={"value": math.inf, "error": math.nan}, max=math.inf)
        k[3]["about"]["file_bytes"] = 2**63
        k[4]["agreement"] = {"value": 0.0, "error": 0.0}
        k[5]["about"]["decode"] = 1e300
        for one in k:
            one["about"]["load_seconds"] = 1e5
        rows = self.check_page(c).table("KL divergence")[1]
        self.assertEqual([rows[1][1], rows[2][1], rows[3][1], rows[3][6]], ["0", f"{MINUS}3.00e-12\u00a0±\u00a01.0e-12", "∞", "∞"])


class Json(unittest.TestCase):
    def same(self, a, b, where=""):
        if isinstance(b, dict):
            self.assertEqual(list(a), list(b), where)
            for f in b:
                self.same(a[f], b[f], f"{where}.{f}")
        elif isinstance(b, list):
            self.assertEqual(len(a), len(b), where)
            for i, (x, y) in enumerate(zip(a, b)):
                self.same(x, y, f"{where}[{i}]")
        elif isinstance(b, float) and math.isfinite(b):
            self.assertAlmostEqual(a, b, delta=1e-8 * abs(b), msg=where)
        else:
            self.assertEqual(a, None if isinstance(b, float) else b, where)

    def expected(self, c):
        def subject(s):
            tasks = [{"name": n} | t for n, t in zip(c["task_names"], s["tasks"], strict=True)]
            positive = {f: s[f] if s[f] else math.nan for f in ("bits_per_weight", "prefill", "decode")}
            return s | positive | {"tasks": tasks}

        run = {f: c[f] for f in ("program", "date", "machine", "command", "text", "n_tokens", "n_windows", "window", "n_scored", "n_threads",
                                 "n_layer")}
        run |= {f: c[f] or math.nan for f in ("read_bandwidth", "int8_ops")} | {"seconds": c["seconds"]}
        run["tasks"] = [{"name": n, "n_questions": q, "guess": g} for n, q, g in zip(c["task_names"], c["task_sizes"], c["task_guess"])]
        candidates = []
        for k in c["candidates"]:
            groups = {f: [g if g["n"] else g | {"kl": math.nan, "agreement": math.nan} for g in k[f]] for f in ("positions", "kinds")}
            candidates.append(subject(k["about"]) | {f: k[f] for f in ("kl", "dp_mean", "dp_rms", "agreement", "ppl_ratio")} | groups
                              | {f: k[f] for f in ("layer_error", "departures")})
        return run | {"reference": subject(c["reference"]), "candidates": candidates}

    def test_every_figure(self):
        for c in (EIGHT, mock.unknown(EIGHT), mock.comparison(mock.ROWS[:1], tasks=[]), mock.comparison([])):
            text = report("json", c).decode()
            self.assertTrue(text.endswith("}\n"))
            self.same(json.loads(text), self.expected(c))

    def test_hostile_texts(self):
        c = mock.hostile(EIGHT)
        out = json.loads(report("json", c).decode())
        if mock.is_text(c["command"]):
            self.assertEqual(out["command"], c["command"].decode())
        else:
            self.assertIn("\ufffd", out["command"])
        for k, given in zip(out["candidates"], c["candidates"], strict=True):
            for d, e in zip(k["departures"], given["departures"], strict=True):
                for f in ("prompt", "shared", "reference", "candidate"):
                    if mock.is_text(e[f]):
                        self.assertEqual(d[f], e[f].decode())


class Markdown(unittest.TestCase):
    def tables(self, text):
        """By the heading above."""
        out, title = {}, ""
        for line in text.splitlines():
            if line.startswith("#"):
                title = line.lstrip("# ")
            elif line.startswith("|"):
                cells = [cell.strip() for cell in re.split(r"(?<!\\)(?:\\\\)*\|", line)]
                self.assertEqual((cells[0], cells[-1]), ("", ""))
                out.setdefault(title, []).append(cells[1:-1])
        for title, rows in out.items():
            self.assertEqual({len(row) for row in rows}, {len(rows[0])}, title)
            self.assertTrue(all(re.fullmatch("-+:?", cell) for cell in rows[1]), title)
        return out

    def test_same_tables_as_the_page(self):
        tables, page = self.tables(report("markdown", EIGHT).decode()), Page(EIGHT)
        for title in ("KL divergence", "First choices and perplexity", "Size", "Speed and memory"):
            head, rows = page.table(title)
            plain = [[re.sub(r"\\(.)", r"\1", cell) for cell in row] for row in tables[title]]
            self.assertEqual([plain[0]] + plain[2:], [head] + rows)

    def test_rest(self):
        text = report("markdown", EIGHT).decode()
        tables = self.tables(text)
        self.assertEqual(len(tables["Error by layer"]), 2 + mock.N_LAYER)
        for k, row in zip(EIGHT["candidates"], tables["By kind of token"][2:], strict=True):
            self.assertEqual(row[1:], [f"{digits(g['kl'], 3)}, {percent(g['agreement'])}" for g in k["kinds"]])
        for k, row in zip(EIGHT["candidates"], tables["Tasks"][3:], strict=True):
            self.assertEqual(row[1::2], [estimate(t["accuracy"], 100, unit="%") for t in k["about"]["tasks"]])
        self.assertIn("**4 bits (auto-4.5): 85.7% smaller** than the reference", text)
        self.assertIn(f"```\n{EIGHT['command']}\n```\n", text)

    def test_hostile(self):
        for c in (mock.hostile(EIGHT), mock.unknown(EIGHT), mock.comparison([]), mock.many(40)):
            text = report("markdown", c).decode()
            self.tables(text)
            outside = re.sub(r"(?ms)^(````*)\n.*?^\1\n", "", text)
            self.assertNotRegex(outside, r"(?<!\\)<")
            self.assertNotRegex(text, r"[\x00-\x08\x0b-\x1f\x7f]")


if __name__ == "__main__":
    unittest.main()
