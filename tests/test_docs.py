"""The documentation holds: what it shows of C compiles, every option that it names exists, what it shows of the demo model is what that says.

C stands in blocks that begin with ```c: whole functions with their #include, or statements, which are then put into a function after
declarations of the names in PRELUDE. Commands stand in indented blocks, behind "$ " where their output follows.
"""
import glob
import os
import re
import subprocess
import tempfile
import unittest

import test_smollm2
from program import COMMANDS, ROOT, SANITIZED, SLM, TIMEOUT, slm

CC = os.environ.get("CC", "cc")
FILES = ["README.md", *sorted(os.path.join("docs", os.path.basename(p)) for p in glob.glob(os.path.join(ROOT, "docs", "*.md")))]

# What readers know: names of the text around a block of statements.
PRELUDE = """
#include <slm.h>
#include <string.h>
extern slm_model *model;
extern slm_context *ctx;
extern slm_sampler *sampler;
extern slm_speculator *spec;
extern slm_grammar *grammar;
extern slm_constraint *constraint;
extern slm_matcher *matcher;
extern slm_status status;
extern slm_error err;
extern slm_token token, *tokens, *prompt;
extern size_t n, capacity, n_tokens;
extern int32_t s, from, to, begin, end, length, n_keep, n_prompt;
extern const uint64_t *mask;
extern const char *text, *tools;
slm_token choose(const uint64_t *mask);
bool use(slm_token token);
void snippet(void);
"""


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def indented_blocks(text):
    """Lists of lines."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    for block in re.findall(r"(?:^\n|\A)((?:^    .*\n(?:\n(?=    ))*)+)", text + "\n", flags=re.M):
        yield [line[4:] for line in block.rstrip("\n").split("\n")]


def commands(lines):
    """(command, output lines) of each "$ " of a block; a command goes on behind a backslash."""
    found = []
    for line in lines:
        if found and found[-1][0].endswith("\\"):
            found[-1] = (found[-1][0][:-1] + line.lstrip(), [])
        elif line.startswith("$ "):
            found.append((line[2:], []))
        elif found:
            found[-1][1].append(line)
    return found


class C(unittest.TestCase):
    def test_blocks_compile(self):
        count = 0
        for path in FILES:
            for code in re.findall(r"^```c\n(.*?)^```$", read(path), flags=re.M | re.S):
                count += 1
                if "#include" not in code:
                    code = PRELUDE + "void snippet(void) {\n" + code + "}\n"
                r = subprocess.run([*CC.split(), "-std=c11", "-Wall", "-Wextra", "-Werror", "-x", "c", "-I", os.path.join(ROOT, "include"), "-c",
                                    "-o", os.devnull, "-"], input=code, text=True, capture_output=True, timeout=TIMEOUT)
                self.assertEqual((r.returncode, r.stderr), (0, ""), (path, code))
        self.assertGreaterEqual(count, 7)

    def test_no_block_is_passed_over(self):
        for path in FILES:
            for lines in indented_blocks(read(path)):
                self.assertNotRegex("\n".join(lines), r"\bslm_\w+\(", f"{path}: C belongs into ```c")


class Options(unittest.TestCase):
    """Of commands in blocks and between backquotes."""

    def test_they_exist(self):
        known = {c: set(re.findall(r"^  (--?[\w-]+)", slm(c, "--help").text, flags=re.M)) | {"--help"} for c in COMMANDS}
        count = 0
        for path in FILES:
            text = read(path)
            lines = [line for block in indented_blocks(text) for line in block] + re.findall(r"`([^`\n]+)`", text)
            for line in lines:
                for command, rest in re.findall(r"(?:^|[ /(])slm (\w+) ([^|>#]*)", line):
                    if command not in known:
                        continue
                    words = re.sub(r'"[^"]*"|\'[^\']*\'', "", rest).split()
                    for option in re.findall(r"(?:^|[\s\[])(--?[a-z][\w-]*)", " ".join(words)):
                        self.assertIn(option, known[command], (path, line))
                        count += 1
        self.assertGreater(count, 60)


@unittest.skipIf(SANITIZED, "the model takes minutes under sanitizers")
class Demo(test_smollm2.Case):
    """Every block of commands whose output does not depend on the machine, with the demo model."""

    # what is not repeated here: measurements, files that nobody has, answers that take long
    NOT_HERE = re.compile(r"slm bench|slm chat|slm --version|--stats|tools/|tests/|models/|style.gguf|documents.jsonl|sort.c|"
                          r"sentences.txt")

    def test_output(self):
        n_run = 0
        for path in FILES:
            for block in indented_blocks(read(path)):
                if block[0].startswith("$ ") and not self.NOT_HERE.search("\n".join(block)):
                    with self.subTest(path=path, block=block[0]), tempfile.TemporaryDirectory() as folder:
                        self.check(block, folder)
                    n_run += 1
        self.assertGreaterEqual(n_run, 9)

    def check(self, block, folder):
        for command, wanted in commands(block):
            name = re.fullmatch(r"cat (\S+)", command)
            if name and not os.path.exists(os.path.join(folder, name[1])):  # what the reader has
                with open(os.path.join(folder, name[1]), "w", encoding="utf-8") as f:
                    f.write("\n".join(wanted) + "\n")
                continue
            script = f'slm() {{ "{SLM}" "$@"; }}\nMODEL="{test_smollm2.MODEL}"\n' + re.sub(r"\bMODEL\b", '"$MODEL"', command)
            r = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder, timeout=TIMEOUT)
            self.assertEqual(r.stdout.decode().rstrip("\n").split("\n"), wanted or [""], command)


if __name__ == "__main__":
    unittest.main()
