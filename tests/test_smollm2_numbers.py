#!/usr/bin/env python3
"""SmolLM2-135M-Instruct: see numbers_case.py."""
import os, unittest

import numbers_case


class SmolLM2(numbers_case.Numbers, unittest.TestCase):
    name, get, tokenize = "smollm2", [], []
    hashes = ["0x3773f1eb87ba4e66", "0xf3fe0495d2e32ec2", "0x3c9046e8e3f1330b", "0x23f51d00fd00da23", "0xf4b40979e9ad71d7"]
    divergence = 0.0030  # the peer's own default path has 0.0029 to 0.0034 on English and code
    close, greedy, greedy_of_reference = 0.5, 60, 80
    n_reference, n_plain = 16, 2


if __name__ == "__main__":
    os.chdir(os.path.dirname(numbers_case.HERE))
    unittest.main()
