#!/usr/bin/env python3
"""Write the example of docs/finetune.md: messages of customers, and the record that each is to become.

usage: make_records.py TRAIN.jsonl HELD_OUT.jsonl

Every sentence is ours. Names, things and order numbers of the held-out messages are in none of the others; nor is any of them said in
the same order of the same sentences.
"""
import json
import random
import sys

SYSTEM = "Turn the message into a record."
N_TRAIN, N_HELD_OUT = 300, 40

NAMES = ["Maria Keller", "Tom Berger", "Anna Novak", "Peter Lang", "Lucy Hill", "Omar Haddad", "Ines Costa", "Paul Weber", "Nora Lind",
         "David Cole", "Eva Blum", "Hugo Martin", "Sara Bell", "Ivan Petrov", "Julia Stone", "Mark Fisher", "Olga Marin", "Felix Braun",
         "Rita Gomez", "Adam Clark", "Lena Vogel", "Simon Reed", "Clara Moss", "Victor Hall"]
NEW_NAMES = ["Emma Frost", "Carlos Vega", "Hannah Wolf", "Leo Grant", "Marta Silva", "George Pike", "Nina Roth", "Samir Khan"]
THINGS = ["kettle", "desk lamp", "backpack", "wool scarf", "coffee mill", "alarm clock", "bread knife", "rain jacket", "office chair",
          "frying pan", "travel pillow", "wall mirror", "toaster", "picture frame", "bicycle pump", "tea pot", "camping stove", "keyboard",
          "garden hose", "book shelf", "hair dryer", "tool box", "winter boots", "water bottle"]
NEW_THINGS = ["blender", "sleeping bag", "table fan", "leather wallet", "rice cooker", "door mat", "head lamp", "soup bowl"]

# What went wrong, and sentences that say so.
PROBLEMS = {
    "broken": ["My {thing} arrived broken.", "The {thing} has a crack.", "The {thing} stopped working after one day.",
               "The {thing} fell apart when I opened the box."],
    "late": ["I am still waiting for my {thing}.", "The {thing} should have been here last week.", "My {thing} has not arrived yet.",
             "Where is my {thing}?"],
    "wrong": ["I ordered a {thing} and got something else.", "You sent me the wrong {thing}.", "This is not the {thing} that I chose.",
              "The {thing} has the wrong colour."],
}
# What the customer wants.
WISHES = {
    "refund": ["I want my money back.", "Please refund me.", "Please return what I paid."],
    "replace": ["Please send a new one.", "I would like another one.", "Can I get a replacement?"],
    "answer": ["Please tell me what happened.", "Can you explain this?", "Please let me know what to do."],
}
ORDERS = ["It is order {order}.", "The order number is {order}.", "Order {order}.", "My order is {order}."]
GREETINGS = ["Hello,", "Hi,", "Good morning,", "Dear team,", ""]
SIGNATURES = ["{name}", "Regards, {name}", "Thanks, {name}", "Yours, {name}"]


def pick(r, choices):
    """random() alone gives the same numbers in every version of Python."""
    return choices[int(r.random() * len(choices))]


def record(r, names, things, first, last):
    """(order of the sentences, prompt, response)"""
    problem, wish = pick(r, list(PROBLEMS)), pick(r, list(WISHES))
    words = {"name": pick(r, names), "thing": pick(r, things), "order": str(first + int(r.random() * (last - first)))}
    said = [pick(r, PROBLEMS[problem]), pick(r, ORDERS), pick(r, WISHES[wish])]
    if r.random() < 0.5:
        said = [said[1], said[0], said[2]]
    sentences = [pick(r, GREETINGS), *said, pick(r, SIGNATURES)]
    response = {"order": int(words["order"]), "item": words["thing"], "problem": problem, "wish": wish, "name": words["name"]}
    return tuple(sentences), " ".join(s for s in sentences if s).format(**words), json.dumps(response)


def make(seed, n, used, *args):
    r, records = random.Random(seed), []
    while len(records) < n:
        sentences, prompt, response = record(r, *args)
        if sentences not in used:
            used.add(sentences)
            records.append({"prompt": prompt, "response": response})
    return records


def both():
    """Training and held-out examples."""
    used = set()
    train = make(1, N_TRAIN, used, NAMES, THINGS, 10000, 60000)
    return train, make(2, N_HELD_OUT, used, NEW_NAMES, NEW_THINGS, 60000, 100000)


def main(*paths):
    for path, records in zip(paths, both()):
        with open(path, "w") as f:
            f.writelines(json.dumps(x) + "\n" for x in records)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
