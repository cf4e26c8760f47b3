#!/usr/bin/env python3
"""make_notes.py [N] > notes.jsonl: N clinical notes (default 200) of people who do not exist, with what is to be found in them.

Each line is {"id", "text", "answer"}; "answer" fits schema.json. The same N gives the same notes.
"""
import json
import random
import sys

COMPLAINTS = {
    "chest pain": ["stable angina", "costochondritis", "gastro-oesophageal reflux"],
    "shortness of breath": ["asthma exacerbation", "heart failure", "community-acquired pneumonia"],
    "headache": ["migraine without aura", "tension-type headache", "sinusitis"],
    "abdominal pain": ["acute gastritis", "cholelithiasis", "irritable bowel syndrome"],
    "cough and fever": ["acute bronchitis", "influenza A", "community-acquired pneumonia"],
    "low back pain": ["lumbar strain", "sciatica"],
    "dizziness": ["benign positional vertigo", "orthostatic hypotension", "iron deficiency anaemia"],
    "sore throat": ["streptococcal pharyngitis", "viral pharyngitis"],
    "knee pain": ["osteoarthritis", "meniscal tear", "gout"],
    "fatigue": ["hypothyroidism", "iron deficiency anaemia", "type 2 diabetes mellitus"],
}
DRUGS = [("ibuprofen", [200, 400, 600]), ("amoxicillin", [250, 500]), ("metformin", [500, 850, 1000]), ("lisinopril", [5, 10, 20]),
         ("omeprazole", [20, 40]), ("prednisone", [5, 20, 40]), ("levothyroxine", [25, 50, 75]), ("atorvastatin", [10, 20, 40]),
         ("sumatriptan", [50, 100]), ("paracetamol", [500, 1000]), ("azithromycin", [250, 500]), ("furosemide", [20, 40])]
TIMES = {1: "once daily", 2: "twice daily", 3: "three times daily", 4: "four times daily"}
ALLERGIES = ["penicillin", "sulfonamides", "latex", "peanuts", "iodinated contrast"]
SURNAMES = "Abbott Bauer Castillo Dubois Eriksen Fontana Grant Haddad Ivanova Jensen Kowalski Lindqvist Moreau Novak Okafor".split()
FIRST = {"female": "Anna Beatriz Clara Deepa Elif Fatima Grace Hana".split(), "male": "Adam Bruno Carlos David Emil Farid George Hugo".split()}



def answer(rnd):
    complaint = rnd.choice(list(COMPLAINTS))
    sex = rnd.choice(["female", "male"])
    names = rnd.sample(range(len(DRUGS)), rnd.randint(1, 3))
    medications = []
    for i in names:
        medications.append({"name": DRUGS[i][0], "dose_mg": rnd.choice(DRUGS[i][1]), "times_per_day": rnd.choice(list(TIMES))})
    systolic = rnd.randint(95, 185)
    return {
        "patient": f"{rnd.choice(FIRST[sex])} {rnd.choice(SURNAMES)}",
        "age": rnd.randint(18, 91),
        "sex": sex,
        "visit_date": f"2025-{rnd.randint(1, 12):02}-{rnd.randint(1, 28):02}",
        "complaint": complaint,
        "diagnosis": rnd.choice(COMPLAINTS[complaint]),
        "blood_pressure": {"systolic": systolic, "diastolic": rnd.randint(55, min(110, systolic - 25))},
        "heart_rate": rnd.randint(52, 128),
        "allergies": rnd.sample(ALLERGIES, rnd.choice([0, 0, 1, 1, 2])),
        "medications": medications,
        "follow_up_days": rnd.choice([None, 7, 10, 14, 21, 28]),
    }


def text(rnd, a):
    he, his = ("She", "her") if a["sex"] == "female" else ("He", "his")
    pressure = f"{a['blood_pressure']['systolic']}/{a['blood_pressure']['diastolic']}"
    opening = rnd.choice([
        f"{a['patient']}, a {a['age']}-year-old {a['sex']}, was seen on {a['visit_date']} because of {a['complaint']}.",
        f"Visit of {a['visit_date']}. Patient: {a['patient']} ({a['age']} y, {a['sex']}). Chief complaint: {a['complaint']}.",
        f"On {a['visit_date']} {a['patient']} ({a['sex']}, {a['age']} years) came to the clinic with {a['complaint']}.",
    ])
    history = rnd.choice([
        f"{he} says it began {rnd.randint(2, 9)} days ago and is worse in the evening.",
        f"Symptoms have been present for {rnd.randint(2, 6)} weeks; no recent travel, no sick contacts.",
        f"{he} lives alone, does not smoke and walks {rnd.randint(1, 5)} km a day.",
        "Similar episodes in the past resolved without treatment.",
    ])
    vitals = rnd.choice([
        f"BP {pressure} mmHg, pulse {a['heart_rate']}, afebrile.",
        f"Vitals: blood pressure {pressure}, heart rate {a['heart_rate']} per minute, oxygen saturation {rnd.randint(93, 99)}%.",
    ])
    allergies = f"Allergic to {' and '.join(a['allergies'])}." if a["allergies"] else rnd.choice(["No known drug allergies.", "NKDA."])
    drugs = "; ".join(f"{m['name']} {m['dose_mg']} mg {TIMES[m['times_per_day']]}" for m in a["medications"])
    plan = rnd.choice([f"Started on {drugs}.", f"Plan: {drugs}.", f"Prescribed {drugs}."])
    diagnosis = rnd.choice([f"Findings fit {a['diagnosis']}.", f"Impression: {a['diagnosis']}.", f"Working diagnosis is {a['diagnosis']}."])
    days = a["follow_up_days"]
    after = f"Review in {days} days." if days else f"No follow-up planned; {he.lower()} will call if {his} symptoms return."
    return " ".join([opening, history, vitals, allergies, diagnosis, plan, after])


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rnd = random.Random(2025)
    for i in range(n):
        a = answer(rnd)
        print(json.dumps({"id": f"note-{i:03}", "text": text(rnd, a), "answer": a}))


if __name__ == "__main__":
    main()
