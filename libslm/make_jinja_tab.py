#!/usr/bin/env python3
"""Write jinja_tab.c: what Python's strings know of case, digits and printing (Unicode of the Python that runs this).

    python3 libslm/make_jinja_tab.py > libslm/jinja_tab.c
"""
import unicodedata

LAST = 0x110000
KINDS = {"lower": str.lower, "upper": str.upper, "title": str.title}


def runs(pairs):
    """(code point, delta) -> [first, last, delta, step], steps 1 or 2."""
    out = []
    for cp, delta in pairs:
        if out and out[-1][2] == delta:
            first, last, _, step = out[-1]
            if first == last and cp - last in (1, 2):
                out[-1][1], out[-1][3] = cp, cp - last
                continue
            if first != last and cp - last == step:
                out[-1][1] = cp
                continue
        out.append([cp, cp, delta, 1])
    return out


def ranges(is_member, first):
    out = []
    for cp in range(first, LAST):
        if is_member(chr(cp)):
            if out and out[-1][1] == cp - 1:
                out[-1][1] = cp
            else:
                out.append([cp, cp])
    return out


def table(declaration, rows):
    print(f"{declaration} = {{")
    for i in range(0, len(rows), 5):
        print("    " + " ".join("{" + ", ".join(map(str, r)) + "}," for r in rows[i : i + 5]))
    print("};\n")


def main():
    print(f"/* Made by make_jinja_tab.py, Unicode {unicodedata.unidata_version}. */\n// clang-format off\n#include \"jinja_tab.h\"\n")
    n_runs, n_specials = [], []
    for name, f in KINDS.items():
        pairs, special = [], []
        for cp in range(LAST):
            to = f(chr(cp))
            if len(to) > 1:
                special.append([hex(cp), "{" + ", ".join(hex(ord(c)) for c in to) + "}"])
            elif to != chr(cp):
                pairs.append((cp, ord(to) - cp))
        rows = runs(pairs)
        table(f"static const jcase_run {name}_runs[]", rows)
        table(f"static const jcase_special {name}_specials[]", special)
        n_runs.append(len(rows)), n_specials.append(len(special))
    for what, type_, sizes in (("run", "jcase_run", n_runs), ("special", "jcase_special", n_specials)):
        print(f"const {type_} *const slm__j_case_{what}s[TAB_N] = {{lower_{what}s, upper_{what}s, title_{what}s}};")
        print(f"const uint32_t slm__j_n_case_{what}s[TAB_N] = {{{', '.join(map(str, sizes))}}};")
    for name, test, first in (("unprintable", lambda c: not c.isprintable(), 0x7F), ("digits", str.isdigit, 0x80),
                              ("cased", lambda c: c.islower() or c.isupper() or c.istitle(), 0x80)):
        rows = ranges(test, first)
        table(f"const uint32_t slm__j_{name}[][2]", [[hex(a), hex(b)] for a, b in rows])
        print(f"const uint32_t slm__j_n_{name} = {len(rows)};")


main()
