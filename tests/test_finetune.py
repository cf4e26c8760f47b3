"""What fine-tuning brings: records_lora.gguf, which tools/finetune.py made of make_records.py's training examples, on its held-out ones.

docs/finetune.md has the commands that made it. Without network these tests are skipped.
"""
import json
import os
import unittest

import make_records
import test_smollm2
from program import ROOT, SANITIZED

# Made of the training examples by the command in docs/finetune.md.
LORA = ["--lora", os.path.join(ROOT, "tests", "data", "records_lora.gguf")]
TRAIN, HELD_OUT = make_records.both()

# Mean log-probability of a token of the responses, measured here: -2.102 without and -0.0098 with the adapter on 16 of them, -2.115 and
# -0.0048 on the second. PyTorch has -2.105 and -0.0096 on the 16, the end of the turn included.
BEFORE, AFTER = -2.0, -0.05


class Records(test_smollm2.Case):
    def ids(self, text, *args):
        r = self.good("tokenize", "-m", test_smollm2.MODEL, *args, stdin=text.encode())
        return [int(i) for i in r.text.split()]

    def log_probability(self, records, *args):
        """Mean over the tokens of the responses; of those that are not among the 1,000 most probable it takes the last one's, which
        is too much."""
        total = n = 0
        for record in records:
            prompt = self.ids(record["prompt"], "--chat", "--system", make_records.SYSTEM)
            response = self.ids(record["response"])
            top = self.logprobs(prompt + response, "--top", 1000, "--last", len(response) + 1, *args)["top"]
            for token, row in zip(response, top):
                total += dict(map(tuple, row)).get(token, row[-1][1])
                n += 1
        return total / n

    def answer(self, record, *args):
        args = ["--system", make_records.SYSTEM, "--temp", 0, "-n", 12 if SANITIZED else 60, "-p", record["prompt"], *args]
        r = self.good("run", "-m", test_smollm2.MODEL, *args)
        return r.text.removesuffix("\n")

    def test_held_out_responses_are_expected(self):
        records = HELD_OUT[1:2] if SANITIZED else HELD_OUT[:16]
        self.assertLess(self.log_probability(records), BEFORE)
        self.assertGreater(self.log_probability(records, *LORA), AFTER)

    def test_answers_are_records(self):
        for record in HELD_OUT[1:2 if SANITIZED else 6]:
            answer = self.answer(record, *LORA)
            self.assertEqual(answer, record["response"][:len(answer) if SANITIZED else None])
            self.assertNotIn(answer, self.answer(record))


class HeldOut(unittest.TestCase):
    def test_nothing_of_them_was_learned(self):
        for key in ("name", "item", "order"):
            learned, held_out = ({json.loads(r["response"])[key] for r in records} for records in (TRAIN, HELD_OUT))
            self.assertEqual(learned & held_out, set())
            self.assertGreater(len(held_out), 4)


if __name__ == "__main__":
    unittest.main()
