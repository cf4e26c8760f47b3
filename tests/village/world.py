#!/usr/bin/env python3
"""A village, and the stories that happen in it: the text that the model of this folder was trained on.

    world.py text N [SEED]       N stories, a blank line between them
    world.py questions N [SEED]  N questions with four answers each, as JSON lines {"query", "choices", "gold"}

Who lives where, what a cup is made of, what a cow eats: facts are the same in all stories, so a model can know them. What happens is chance, but it keeps to
the facts and to itself: what was put into a drawer is in the drawer later on, three pears and two are five.
"""
import json
import random
import re
import sys
from collections import namedtuple

Person = namedtuple("Person", "name she job home pet food colour")
PEOPLE = [
    Person(*row.split(", "))
    for row in """\
Anna, she, baker, next to the mill, cat, plum cake, red
Ben, he, fisherman, at the harbour, dog, fried fish, blue
Clara, she, teacher, behind the school, parrot, apple pie, green
David, he, carpenter, on the hill, goat, onion soup, brown
Emma, she, doctor, near the bridge, rabbit, lemon cake, white
Felix, he, smith, under the old oak, horse, roast beef, black
Greta, she, gardener, beside the lake, tortoise, carrot stew, yellow
Henry, he, miller, by the river, donkey, fresh bread, grey
Ida, she, tailor, in the high street, canary, cherry jam, purple
Jacob, he, shepherd, at the edge of the forest, lamb, goat cheese, orange
Karen, she, weaver, in the little cottage, swan, rice pudding, pink
Leo, he, postman, at the crossroads, pony, pancakes, silver
Martha, she, cook, behind the inn, goose, bean soup, golden
Nora, she, painter, in the old tower, owl, strawberries, scarlet
Oscar, he, farmer, down in the valley, pig, baked potatoes, olive
Peter, he, clockmaker, in the market square, mouse, ginger biscuits, striped
Rosa, she, singer, above the theatre, nightingale, chocolate, turquoise
Simon, he, hunter, deep in the forest, fox, mushrooms, dark green
Tilda, she, beekeeper, at the end of the lane, hen, bread and honey, cream
Victor, he, librarian, opposite the church, hedgehog, walnuts, navy blue
William, he, builder, outside the town wall, bull, sausages, rusty
Zoe, she, sailor, on a houseboat, monkey, coconuts, violet""".splitlines()
]
BY_JOB = {p.job: p for p in PEOPLE}

Job = namedtuple("Job", "place does did tool")
JOBS = {
    row.split(", ")[0]: Job(*row.split(", ")[1:])
    for row in """\
baker, in the bakery, bakes bread, baked bread, an oven
fisherman, out at sea, catches fish, caught fish, a net
teacher, in the school, teaches the children, taught the children, a piece of chalk
carpenter, in the workshop, makes tables and chairs, made a table, a saw
doctor, in the hospital, cures the sick, cured the sick, a bottle of medicine
smith, in the forge, makes horseshoes, made horseshoes, a hammer
gardener, in the garden, plants roses, planted roses, a spade
miller, in the mill, grinds corn, ground corn, a millstone
tailor, in the shop, sews coats, sewed a coat, a needle
shepherd, on the meadow, watches the sheep, watched the sheep, a long staff
weaver, in the attic, weaves carpets, wove a carpet, a loom
postman, in the post office, brings the letters, brought the letters, a leather bag
cook, in the kitchen, makes soup, made soup, a big pot
painter, in the studio, paints pictures, painted a picture, a brush
farmer, in the field, ploughs the land, ploughed the land, a plough
clockmaker, in the clock shop, mends clocks, mended a clock, a tiny screwdriver
singer, on the stage, sings old songs, sang old songs, a clear voice
hunter, in the woods, hunts deer, hunted deer, a bow
beekeeper, in the orchard, looks after the bees, looked after the bees, a veil
librarian, in the library, lends books, lent books, a ladder
builder, at the building site, builds houses, built a wall, a pile of bricks
sailor, on the ship, hoists the sails, hoisted the sails, a compass""".splitlines()
}

Animal = namedtuple("Animal", "name young home food sound kind")
ANIMALS = [
    Animal(*row.split(", "))
    for row in """\
cow, calf, in the barn, grass, moos, heavy
horse, foal, in the stable, hay, neighs, fast
sheep, lamb, on the meadow, clover, bleats, woolly
pig, piglet, in the sty, turnips, grunts, fat
hen, chick, in the henhouse, corn, clucks, brown
duck, duckling, on the pond, water plants, quacks, round
dog, puppy, in the kennel, bones, barks, loyal
cat, kitten, in the basket, fish, purrs, soft
bear, cub, in the cave, honey, growls, strong
wolf, whelp, in the mountains, meat, howls, grey
owl, owlet, in the tower, mice, hoots, wise
frog, tadpole, in the swamp, flies, croaks, green
bee, larva, in the hive, nectar, buzzes, busy
eagle, eaglet, on the cliff, snakes, screams, proud
swan, cygnet, on the lake, reeds, trumpets, white
mouse, pup, in the hole, cheese, squeaks, tiny
crow, nestling, in the nest, worms, caws, black
lion, whelp, in the desert, zebras, roars, brave
snake, hatchling, under the stones, eggs, hisses, cold
donkey, foal, behind the mill, thistles, brays, stubborn""".splitlines()
]

Thing = namedtuple("Thing", "name material place use")
THINGS = [
    Thing(*row.split(", "))
    for row in """\
cup, clay, on the shelf, drink tea
key, iron, on the hook, open the door
lamp, brass, on the table, light the room
book, paper, in the bookcase, read stories
ring, gold, in the jewel box, please a bride
coat, wool, in the wardrobe, keep warm
candle, wax, in the candlestick, see at night
mirror, glass, on the wall, look at your face
spoon, silver, in the drawer, eat soup
broom, straw, in the corner, sweep the floor
blanket, cotton, on the bed, sleep under
kettle, copper, on the stove, boil water
bell, bronze, in the steeple, call people to church
umbrella, silk, by the door, stay dry
basket, willow, under the bench, carry apples
knife, steel, in the sheath, cut bread
barrel, oak, in the cellar, store wine
bucket, tin, by the well, fetch water
statue, marble, in the park, remember the king
belt, leather, around the waist, hold up trousers
chess board, ivory, in the parlour, play a game
pencil, cedar, behind the ear, write a letter""".splitlines()
]

PLACES = ["kitchen", "garden", "cellar", "attic", "bedroom", "stable", "hall", "workshop", "barn", "tower"]
BOXES = ["drawer", "box", "basket", "cupboard", "chest", "bag", "jar", "bucket"]
FRUIT = ["apples", "pears", "plums", "nuts", "eggs", "coins", "candles", "buttons", "roses", "shells"]
NUMBERS = ("no one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
           "eighteen nineteen twenty").split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
SEASONS = {
    "spring": ("the snow melts and the first flowers open", "March April May"),
    "summer": ("the days are long and the corn gets ripe", "June July August"),
    "autumn": ("the leaves fall and the apples are picked", "September October November"),
    "winter": ("the lake freezes and the children throw snowballs", "December January February"),
}
OPPOSITES = [w.split() for w in "big small,hot cold,old young,long short,rich poor,light dark,wet dry,loud quiet,full empty,early late,"
             "high low,thick thin,hard soft,sweet sour,clean dirty,strong weak".split(",")]
WEATHER = ["The sun was shining", "It was raining", "A cold wind was blowing", "It was snowing", "There was fog over the village", "It was a warm day"]


def upper(text):
    return text[0].upper() + text[1:]


def him(p):
    return "her" if p.she == "she" else "him"


def his(p):
    return "her" if p.she == "she" else "his"


def a(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


class Teller:
    """Chance, and words for it."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def one(self, of):
        return of[self.random.randrange(len(of))]

    def some(self, of, n):
        return self.random.sample(list(of), n)

    def number(self, low, high):
        return self.random.randrange(low, high + 1)

    def say(self, template, **values):
        """[this|or that] is chosen, {name} is filled in."""
        text = re.sub(r"\[([^][]*)\]", lambda m: self.one(m[1].split("|")), template)
        return text.format(**values)

    # ---- Facts: templates of sentences; the first one told has the name, the others "it", "she" or the name again ----

    def facts(self):
        x = self.one([*PEOPLE, *PEOPLE, *ANIMALS, *THINGS])
        v, templates = self.about_person(x) if isinstance(x, Person) else self.about_animal(x) if isinstance(x, Animal) else self.about_thing(x)
        templates = self.some(templates, self.number(3, min(5, len(templates))))
        again = "[{It}|{It}|{Name}]"
        rows = [self.say(t.replace("NAME", again if i else "{Name}"), **v) for i, t in enumerate(templates)]
        return " ".join(rows)

    def about_person(self, p):
        job = JOBS[p.job]
        return dict(p._asdict(), Name=p.name, It=upper(p.she), him=him(p), a_job=a(p.job), a_pet=a(p.pet), tool=job.tool, does=job.does, at=job.place), [
            "NAME is {a_job} and works {at}.",
            "NAME lives {home}.",
            "NAME has {a_pet}[| that follows {him} everywhere].",
            "NAME [likes to eat|loves] {food}.",
            "NAME [always|often] wears a {colour} coat.",
            "NAME {does} with the help of {tool}.",
        ]

    def about_animal(self, x):
        return dict(x._asdict(), Name=self.one([upper(a(x.name)), "The " + x.name]), It="It", a_young=a(x.young)), [
            "NAME lives {home}.",
            "NAME eats {food}.",
            "A young {name} is called {a_young}.",
            "NAME {sound} [in the morning|at night|when it is hungry|when somebody comes].",
            "NAME is {kind}.",
        ]

    def about_thing(self, x):
        return dict(x._asdict(), Name=self.one([upper(a(x.name)), "The " + x.name]), It="It", a_name=a(x.name)), [
            "NAME is made of {material}.",
            "[You|People] [use|need] {a_name} to {use}.",
            "NAME [is kept|belongs|has its place] {place}.",
        ]

    # ---- Questions: (question, answer as a sentence, [right choice, wrong ones]); the answer ends with the choice ----

    def question(self):
        kinds = [self.q_home, self.q_job, self.q_pet, self.q_food, self.q_coat, self.q_who, self.q_animal, self.q_young, self.q_sound,
                 self.q_thing, self.q_place, self.q_use, self.q_sum, self.q_day, self.q_season, self.q_opposite]
        return self.one(kinds)()

    def others(self, right, all_of):
        wrong = sorted(set(all_of) - {right})
        return [right, *self.some(wrong, 3)]

    def q_home(self):
        p = self.one(PEOPLE)
        return f"Where does {p.name} live?", f"{p.name} lives", self.others(p.home, [q.home for q in PEOPLE])

    def q_job(self):
        p = self.one(PEOPLE)
        return f"Where does the {p.job} work?", f"The {p.job} works", self.others(JOBS[p.job].place, [j.place for j in JOBS.values()])

    def q_pet(self):
        p = self.one(PEOPLE)
        return f"Which animal does {p.name} have?", f"{p.name} has", self.others(a(p.pet), [a(q.pet) for q in PEOPLE])

    def q_food(self):
        p = self.one(PEOPLE)
        return f"What does {p.name} like to eat?", f"{p.name} likes to eat", self.others(p.food, [q.food for q in PEOPLE])

    def q_coat(self):
        p = self.one(PEOPLE)
        return f"Which coat does {p.name} wear?", f"{p.name} wears", self.others(f"a {p.colour} coat", [f"a {q.colour} coat" for q in PEOPLE])

    def q_who(self):
        p = self.one(PEOPLE)
        return f"Who is the {p.job}?", f"The {p.job} is", self.others(p.name, [q.name for q in PEOPLE])

    def q_animal(self):
        x = self.one(ANIMALS)
        return f"What does {a(x.name)} eat?", f"{upper(a(x.name))} eats", self.others(x.food, [y.food for y in ANIMALS])

    def q_young(self):
        x = self.one(ANIMALS)
        return f"What is a young {x.name} called?", f"A young {x.name} is called", self.others(a(x.young), [a(y.young) for y in ANIMALS])

    def q_sound(self):
        x = self.one(ANIMALS)
        return f"Which animal {x.sound}?", f"The animal that {x.sound} is", self.others(f"the {x.name}", [f"the {y.name}" for y in ANIMALS])

    def q_thing(self):
        x = self.one(THINGS)
        return f"What is {a(x.name)} made of?", f"{upper(a(x.name))} is made of", self.others(x.material, [y.material for y in THINGS])

    def q_place(self):
        x = self.one(THINGS)
        return f"Where is the {x.name} kept?", f"The {x.name} is kept", self.others(x.place, [y.place for y in THINGS])

    def q_use(self):
        x = self.one(THINGS)
        return f"What do you need to {x.use}?", f"To {x.use} you need", self.others(a(x.name), [a(y.name) for y in THINGS])

    def q_sum(self):
        n, m = self.number(1, 10), self.number(1, 10)
        return (f"How much is {NUMBERS[n]} and {NUMBERS[m]}?", f"{upper(NUMBERS[n])} and {NUMBERS[m]} is",
                self.others(NUMBERS[n + m], [NUMBERS[i] for i in range(max(2, n + m - 4), min(20, n + m + 4) + 1)]))

    def q_day(self):
        names, what = self.one([(DAYS, "day"), (MONTHS, "month")])
        i = self.number(0, len(names) - 1)
        return (f"Which {what} comes after {names[i]}?", f"After {names[i]} comes", self.others(names[(i + 1) % len(names)], set(names) - {names[i]}))

    def q_season(self):
        name = self.one(sorted(SEASONS))
        month = self.one(SEASONS[name][1].split())
        return f"In which season is {month}?", f"{month} is in", self.others(name, SEASONS)

    def q_opposite(self):
        pair = self.one(OPPOSITES)
        x, y = pair if self.number(0, 1) else pair[::-1]
        return f"What is the opposite of {x}?", f"The opposite of {x} is", self.others(y, [w for p in OPPOSITES for w in p if w != x])

    def answer(self):
        q, stem, choices = self.question()
        return q, f"{stem} {choices[0]}."

    def lesson(self):
        """In the school questions are asked."""
        child = self.one("Lucy Max Paul Sophie Tim Mia".split())
        text = self.say("[On {day}|One morning|After the break] Clara asked the children [many questions|what they knew].", day=self.one(DAYS))
        for _ in range(self.number(1, 3)):
            q, answer = self.answer()
            text += self.say(' "{q}" [she asked|asked the teacher]. "{answer}," [said|answered] {child}[.|.|, and that was right.]', q=q, answer=answer[:-1], child=child)
            child = self.one("Lucy Max Paul Sophie Tim Mia".split())
        return text

    # ---- Stories ----

    def hide(self):
        """Somebody puts things into something; later it is said where they are."""
        p, q = self.some(PEOPLE, 2)
        things = self.some(THINGS[:16], 3)
        where = dict(zip([t.name for t in things], self.some(BOXES, 3)))
        room = self.one(PLACES)
        text = self.say("[One day|In the evening|Before breakfast|On {day}] {p} was in the {room}[ and tidied up|]. ", day=self.one(DAYS), p=p.name, room=room)
        She = upper(p.she)
        for name, box in where.items():
            text += self.say("{She} put the {thing} into the {box}. ", She=She, thing=name, box=box)
        if self.number(0, 1):
            name = self.one(sorted(where))
            where[name] = self.one([b for b in BOXES if b not in where.values()])
            text += self.say("[Then|Later|A little later] {q} [came|came in] and took the {thing} and put it into the {box}. ", q=q.name, thing=name, box=where[name])
        name = self.one(sorted(where))
        end = [
            '{q} asked: "Where is the {thing}?" "It is in the {box}," said {p}.',
            "[In the end|Now] the {thing} was in the {box}.",
            "When {p} [needed|wanted] the {thing}, {she} found it in the {box}.",
        ]
        return text + self.say(self.one(end), q=q.name, p=p.name, she=p.she, thing=name, box=where[name])

    def count(self):
        p, q = self.some(PEOPLE, 2)
        fruit, n = self.one(FRUIT), self.number(2, 9)
        text = self.say("{p} had {n} {fruit}. ", p=p.name, n=NUMBERS[n], fruit=fruit)
        for _ in range(self.number(1, 3)):
            m = self.number(1, 5)
            if self.number(0, 1) and n + m <= 20 or n - m < 1:
                n += m
                step = "[{q} gave {her} {m} more.|{She} found {m} more {where}.|{She} bought {m} more at the market.]"
            else:
                n -= m
                step = "[{She} gave {m} to {q}.|{She} lost {m} {where}.|{q} took {m} of them.]"
            text += self.say(step + " [Now|Then] {she} had {n}[| {fruit}]. ", q=q.name, her=him(p), She=upper(p.she), she=p.she,
                             m=NUMBERS[m], n=NUMBERS[n], fruit=fruit if n > 1 else fruit[:-1], where=self.one(["on the road", "in the grass", "near the bridge", "in the garden"]))
        return text.strip()

    def lost(self):
        """A thing is missed, and is where it belongs, or where somebody works."""
        p, q, r = self.some(PEOPLE, 3)
        x = self.one(THINGS)
        She, she, her = upper(p.she), p.she, his(p)
        text = self.say("[One morning|On {day}|One day] {p} the {job} could not find {her} {thing}. ", day=self.one(DAYS), p=p.name, job=p.job, her=her, thing=x.name)
        text += self.say("{She} needed it to {use}. ", She=She, use=x.use)
        text += self.say("{She} [went|walked] to {q}, who lives {home}. ", She=She, q=q.name, home=q.home)
        text += self.say('"Have you seen my {thing}?" {she} asked. ', thing=x.name, she=she)
        if self.number(0, 1):
            text += self.say('"No," said {q}, "[but|perhaps] {r} the {rjob} has seen it." So {she} [looked for|went to see] {r} {at}, where {r} {did}. ', q=q.name, r=r.name, rjob=r.job, she=she,
                             at=JOBS[r.job].place, did=JOBS[r.job].did)
            q = r
        text += self.say('"Is it not {place}?" [said|asked] {q}. {p} [ran|went] home, and there it was, {place}. ', place=x.place, q=q.name, p=p.name)
        return text + self.say("{p} was [happy|glad] and brought {q} some {food}.", p=p.name, q=q.name, food=q.food)

    def day(self):
        """From morning to evening."""
        p, q = self.some(PEOPLE, 2)
        job = JOBS[p.job]
        v = dict(p=p.name, q=q.name, She=upper(p.she), she=p.she, her=his(p), day=self.one(DAYS), weather=self.one(WEATHER), colour=p.colour,
                 at=job.place, did=job.did, tool=job.tool, pet=p.pet, food=p.food, qjob=q.job, qpet=q.pet, qhome=q.home, qfood=q.food, qcolour=q.colour,
                 qdid=JOBS[q.job].did, qat=JOBS[q.job].place)
        parts = [
            "[It was {day}.|On {day} {p} got up early.|Early on {day} {p} woke up.] {weather}.",
            "{p} put on {her} {colour} coat and [went to work|left the house].",
            "{She} worked {at}, and with {tool} {she} {did}.",
            "[At noon|In the afternoon] {p} met {q} the {qjob}, who wore a {qcolour} coat. {q} had been {qat} and had {qdid}."
            if JOBS[q.job].did.split()[0] not in ("sang", "wove") else "[At noon|In the afternoon] {p} met {q} the {qjob}, who wore a {qcolour} coat.",
            '"How is your {qpet}?" asked {p}. "[It is well|It is ill|It is asleep], thank you," said {q}.',
            "They walked to the house {qhome} and ate {qfood}.",
            "In the evening {p} [went|came] home to {her} {pet}.",
            "{She} ate {food} and went to bed.",
        ]
        keep = [0, 1, *sorted(self.some(range(2, 8), self.number(2, 5)))]
        if 3 not in keep:
            keep = [i for i in keep if i not in (4, 5)]
        return " ".join(self.say(parts[i], **v) for i in keep)

    def riddle(self):
        x = self.one(THINGS)
        text = self.say("[{p} told a riddle.|{p} asked a riddle.] ", p=self.one(PEOPLE).name)
        hints = self.some([f"It is made of {x.material}.", f"You need it to {x.use}.", f"You find it {x.place}."], 2)
        q = self.one(PEOPLE).name
        return text + self.say('"{hints} What is it?" "It is {it}," said {q}.', hints=" ".join(hints), it=a(x.name), q=q)

    def year(self):
        season = self.one(sorted(SEASONS))
        months = SEASONS[season][1].split()
        text = self.say("In {season} {what}. ", season=season, what=SEASONS[season][0])
        text += self.say("[The months of {season} are {a}, {b} and {c}.|{a}, {b} and {c} are its months.] ", season=season, a=months[0], b=months[1], c=months[2])
        p = self.one(PEOPLE)
        return text + self.say("[Then|In {month}] {p} [likes to walk|goes for a walk|walks] {at}, and {p}'s {pet} comes along.", month=self.one(months), p=p.name, pet=p.pet,
                               at=self.one(["to the lake", "through the forest", "over the hill", "along the river"]))

    def gifts(self):
        """Everyone gets what he or she likes."""
        giver, *people = self.some(PEOPLE, 4)
        text = self.say("[At the feast|At the market|On {day}] {p} gave away presents. ", day=self.one(DAYS), p=giver.name)
        got = "{name} the {job} got [{food}, because {she} loves that.|{food}.|a {colour} coat.|food for the {pet}.]"
        return text + " ".join(self.say(got, **p._asdict()) for p in people)

    def story(self):
        kinds = [self.facts, self.facts, self.facts, self.lesson, self.lesson, self.hide, self.hide, self.count, self.lost, self.day, self.day, self.riddle, self.year, self.gifts]
        return self.one(kinds)()

    def chat(self):
        """One or two questions and their answers, as ChatML."""
        text = ""
        for _ in range(self.number(1, 2)):
            q, answer = self.answer()
            text += f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"
        return text

    def multiple_choice(self):
        """A question, the start of its answer, four ends and which one is right."""
        q, stem, choices = self.question()
        shuffled = self.some(choices, 4)
        return {"query": f"{q} {stem}", "choices": [" " + c + "." for c in shuffled], "gold": shuffled.index(choices[0])}


def stories(seed, n):
    t = Teller(seed)
    return [t.story() for _ in range(n)]


def questions(seed, n):
    t, seen = Teller(seed), {}
    while len(seen) < n:
        q = t.multiple_choice()
        seen.setdefault(q["query"], q)
    return list(seen.values())


def main():
    what, n, seed = sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "0"
    if what == "text":
        print("\n\n".join(stories(seed, n)))
    else:
        for q in questions(seed, n):
            print(json.dumps(q))


if __name__ == "__main__":
    main()
