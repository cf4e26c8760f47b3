#!/usr/bin/env python3
"""Gemma 3 270M: see numbers_case.py. Its last text is longer than twice the window."""
import os, unittest

import numbers_case


class Gemma3(numbers_case.Numbers, unittest.TestCase):
    name, get, tokenize = "gemma3", ["--gemma3"], []
    hashes = ["0xe029a1ff1f8deb21", "0xb5960b2dfb663b04", "0xd9d386f9436a723b",
              "0xd0f4f95b0995ac39", "0xdc41c0a7107cac3d", "0x99cddd53a09b57fc"]
    divergence = 0.0054  # the peer's own default path has 0.0054 to 0.0064
    # Twice the divergence of SmolLM2 (0.0045 to 0.0022) is 1.4 times the error of a logit.
    close, greedy, greedy_of_reference = 0.7, 60, 30
    n_reference, n_plain = 5, 2


if __name__ == "__main__":
    os.chdir(os.path.dirname(numbers_case.HERE))
    unittest.main()
