"""Made-up comparisons for test_report.py: real-looking ones and hostile ones. A comparison is a dict with the names of comparison.h."""
import copy
import math
import random

NAN = math.nan
N_LAYER = 30
POSITIONS = ["1-32", "33-64", "65-128", "129-256", "257-512"]
KINDS = ["word", "part of a word", "number", "punctuation", "space", "code", "other"]
# type, MB, bits per weight, KL, agreement, perplexity ratio, prefill, decode
ROWS = [
    ("Q8_0", 144.8, 8.50, 0.000412, 0.9871, 1.00031, 812.0, 148.2),
    ("Q6_K", 112.3, 6.57, 0.00287, 0.9672, 1.00212, 761.3, 186.0),
    ("Q5_K_M", 97.1, 5.69, 0.00871, 0.9433, 1.00790, 735.4, 209.7),
    ("Q4_K_M", 84.4, 4.94, 0.0293, 0.9024, 1.02470, 748.9, 236.1),
    ("Q4_0", 77.9, 4.56, 0.0612, 0.8633, 1.05310, 803.7, 251.4),
    ("Q3_K_M", 69.6, 4.07, 0.1104, 0.8190, 1.09840, 690.2, 262.8),
    ("Q2_K", 58.2, 3.41, 0.6113, 0.6240, 1.70210, 668.1, 288.5),
    ("mixed", 77.2, 4.50, 0.0247, 0.9112, 1.02080, 731.6, 249.0),
]
TASKS = [("common sense", 400, 0.25), ("arithmetic", 250, 0.2), ("reading", 320, 0.5)]
PROMPT = "the ferry had not come since Tuesday. On the quay people had begun to ask each other"
TEXT = (" whether it would come at all. The harbour master said that the engine was being repaired and that a part had been ordered from the "
        "mainland, but he did not say when it would arrive.")


def estimate(value, error):
    return {"value": value, "error": error}


def subject(path, kind, size, bits, prefill, decode, perplexity, tasks):
    return {"path": path, "type": kind, "file_bytes": round(size * 1e6), "n_params": 134515008, "tensor_bytes": round(size * 1e6) - 1772032,
            "bits_per_weight": bits, "load_seconds": 0.0123 + size / 5e4, "memory_bytes": 31457280 + round(size * 1000), "prefill": prefill,
            "prefill_share": prefill / 1240, "decode": decode, "decode_share": decode / 330, "perplexity": estimate(perplexity, perplexity / 61.7),
            "tasks": tasks}


def task(rng, n, right, reference):
    """Paired: about a sixth of the questions are decided otherwise."""
    p, difference = right / n, (right - reference) / n
    error = math.sqrt(0.16 / n) * (0.7 + 0.3 * rng.random())
    return {"n_right": right, "accuracy": estimate(p, math.sqrt(p * (1 - p) / n)),
            "difference": estimate(difference, error if right != reference else 0.004), "low": difference - 1.96 * error,
            "high": difference + 1.96 * error}


def groups(rng, labels, kl, agreement):
    out = []
    for i, label in enumerate(labels):
        factor = 0.45 + 1.4 * rng.random()
        out.append({"label": label, "n": 640 + 737 * i, "kl": kl * factor, "agreement": max(0.0, 1 - (1 - agreement) * factor)})
    return out


def departure(rng, name, kl):
    words = TEXT.split(" ")
    at = max(1, min(len(words) - 6, round(rng.expovariate(1) * 0.9 / (kl ** 0.45))))
    n = 64
    if kl < 0.001:
        return {"prompt": PROMPT, "shared": TEXT, "reference": "", "candidate": "", "n_shared": n, "n_tokens": n}
    return {"prompt": PROMPT, "shared": " ".join(words[:at]), "reference": " " + " ".join(words[at:at + 12]),
            "candidate": f" and after a while ({name}) they went home,\nas they had done on the days before", "n_shared": at + 3, "n_tokens": n}


def candidate(rng, row, path, n_layer=N_LAYER, tasks=TASKS, right=None):
    kind, size, bits, kl, agreement, ratio, prefill, decode = row
    done = []
    for (_, n, guess), reference in zip(tasks, right or []):
        lost = min(0.5, kl * 0.5) * n * (0.4 + rng.random())
        done.append(task(rng, n, max(0, round(reference - lost + rng.gauss(0, 2))), reference))
    k = {"about": subject(path, kind, size, bits, prefill, decode, 21.7341 * ratio, done)}
    k["kl"] = {"mean": estimate(kl, kl / 43), "median": kl * 0.41, "p90": kl * 2.31, "p99": kl * 9.7, "p999": kl * 31.3, "max": kl * 171.9}
    k["dp_mean"] = estimate(-kl / 31, math.sqrt(kl) / 400)
    k["dp_rms"] = estimate(math.sqrt(kl) / 3.1, math.sqrt(kl) / 170)
    k["agreement"] = estimate(agreement, math.sqrt(agreement * (1 - agreement) / 12240))
    k["ppl_ratio"] = estimate(ratio, (ratio - 1) / 12 + 0.0002)
    k["positions"] = groups(rng, POSITIONS, kl, agreement)
    k["kinds"] = groups(rng, KINDS, kl, agreement)
    level = math.sqrt(kl) * 0.55
    k["layer_error"] = [level * (0.12 + 0.88 * ((l + 1) / n_layer) ** 0.8) * (0.85 + 0.3 * rng.random()) for l in range(n_layer)]
    k["departures"] = [departure(rng, kind, kl) for _ in range(3)]
    return k


def comparison(rows=ROWS, seed=1, tasks=TASKS, n_layer=N_LAYER, path="models/SmolLM2-135M-Instruct.{}.gguf"):
    rng = random.Random(seed)
    right = [round(n * (guess + 0.21)) for _, n, guess in tasks]
    reference = subject(path.format("F32"), "F32", 538.09, 32.0, 41.3, 11.72, 21.7341, [task(rng, t[1], r, r) for t, r in zip(tasks, right)])
    for f in reference["tasks"]:
        f["difference"] = estimate(0, 0)
        f["low"] = f["high"] = 0
    used = [candidate(rng, row, path.format(row[0] if row[0] != "mixed" else "auto-4.5"), n_layer, tasks, right) for row in rows]
    return {"program": "slm compare 0.1.0", "machine": "AMD EPYC 9R14, 2 cores, avx512vnni; 4 GB; Linux 6.1",
            "command": "slm compare --reference " + reference["path"] + " -f long_text.txt -c 512 --html report.html "
                       + " ".join(k["about"]["path"] for k in used),
            "date": "2026-11-27 12:00 UTC", "text": "long_text.txt", "n_tokens": 24576, "n_windows": 48, "window": 512, "n_scored": 12240,
            "n_threads": 2, "n_layer": n_layer, "n_positions": len(POSITIONS), "n_kinds": len(KINDS), "n_departures": 3,
            "n_tasks": len(tasks), "n_candidates": len(used), "read_bandwidth": 31.7e9, "int8_ops": 0.918e12, "seconds": 512.4,
            "task_names": [t[0] for t in tasks], "task_sizes": [t[1] for t in tasks], "task_guess": [t[2] for t in tasks],
            "reference": reference, "candidates": used}


def many(n):
    rng = random.Random(n)
    rows = []
    for i in range(n):
        size = 55 + 95 * i / n + rng.random() * 6
        kl = 0.7 * math.exp(-(size - 55) / 14) * (0.6 + rng.random())
        rows.append((f"mix{i + 1:02}", size, size / 17, kl, 1 / (1 + 0.8 * math.sqrt(kl)), 1 + kl * 0.9, 650 + 200 * rng.random(),
                     330 - 1.2 * size + 9 * rng.random()))
    return comparison(rows)


def unknown(c):
    """Nothing was measured: NaN where that means so, else 0."""
    c = copy.deepcopy(c)

    def clear(v):
        if isinstance(v, dict):
            return {k: w if k in ("path", "type", "label", "prompt", "shared", "reference", "candidate") and isinstance(w, str) else clear(w)
                    for k, w in v.items()}
        if isinstance(v, list):
            return [clear(w) for w in v]
        return NAN if isinstance(v, float) else v if isinstance(v, str) else 0

    for i, k in enumerate(c["candidates"]):
        k = c["candidates"][i] = clear(k)
        k["layer_error"] = None
    c["reference"] = clear(c["reference"])
    for s in [c["reference"]] + [k["about"] for k in c["candidates"]]:
        s["prefill"] = s["decode"] = 0.0
    c.update(read_bandwidth=0.0, int8_ops=0.0, seconds=NAN)
    return c


HOSTILE = [
    b"<script>alert(1)</script>", b"\"><img src=x onerror=alert(1)>", b"' onmouseover='alert(1)", b"</style></svg><b>&amp;&lt;", b"]]><!-- -->",
    b"bad \xff\xfe\xc3( bytes \xed\xa0\x80", b"ctl \x01\x1b[31m\x7f\xc2\x85 \x08", "rtl \u202e\u2066 gpj \u200b\ufeff \ufffe".encode(),
    b"$ $$ ${x} %s %n", b"`` ``` | * _ [a](javascript:x) \\", "ไทย 漢字 👩‍👩‍👧 é\u0301".encode(), b"x" * 3000, b"\n\n\t\r\n",
]


def hostile(c):
    """All texts are such."""
    c = copy.deepcopy(c)
    rng = random.Random(5)

    def next_text():
        return rng.choice(HOSTILE)

    def replace(v):
        if isinstance(v, dict):
            return {k: replace(w) for k, w in v.items()}
        if isinstance(v, list):
            return [replace(w) for w in v]
        return next_text() if isinstance(v, str) else v

    return replace(c)


# ---- What report_driver reads ----

def words(c):
    out = []

    def put(v):
        if v is None:
            out.append(b"-1:")
        elif isinstance(v, (str, bytes)):
            v = v.encode() if isinstance(v, str) else v
            out.append(b"%d:%s" % (len(v), v))
        elif isinstance(v, dict):
            for w in v.values():
                put(w)
        else:
            out.append(repr(float(v)).encode() if not isinstance(v, int) else b"%d" % v)

    def put_all(values):
        for v in values:
            put(v)

    def put_candidate(k):
        put_subject(k["about"])
        put_all(k[f] for f in ("kl", "dp_mean", "dp_rms", "agreement", "ppl_ratio"))
        put_all(k["positions"] + k["kinds"])
        put(0 if k["layer_error"] is None else 1)
        put_all(k["layer_error"] or [])
        put_all(k["departures"])

    def put_subject(s):
        put_all(v for f, v in s.items() if f != "tasks")
        put_all(s["tasks"])

    put_all(c[f] for f in ("program", "machine", "command", "date", "text", "n_tokens", "n_windows", "window", "n_scored", "n_threads",
                           "n_layer", "n_positions", "n_kinds", "n_departures", "n_tasks", "n_candidates", "read_bandwidth", "int8_ops",
                           "seconds"))
    for t in zip(c["task_names"], c["task_sizes"], c["task_guess"]):
        put_all(t)
    put_subject(c["reference"])
    for k in c["candidates"]:
        put_candidate(k)
    return b"\n".join(out)


def is_text(raw):
    """Is it UTF-8 without what a report replaces?"""
    try:
        return "\ufffe" not in raw.decode()
    except UnicodeDecodeError:
        return False
