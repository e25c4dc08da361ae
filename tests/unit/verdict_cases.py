"""Made cases of a run on one eval, each from counts of rows that base and tuned model answer."""

from snaketune.statistics.paired import compare, nothing_to_compare


def shares(n, base, gained=0, lost=0, family=1):
    """`base` of `n` rows right in the base; `gained` and `lost` ones change. p is adjusted as if
    all of a `family` had it."""
    before = [True] * base + [False] * (n - base)
    after = [False] * lost + [True] * (base - lost + gained) + [False] * (n - base - gained)
    found = compare(_rows(before), _rows(after), lambda row: row["hit"])
    return dict(found) | {"p_holm": min(1.0, family * found["p"])}


def means(n, base, gain, swing=0.1):
    """Scores from 0 to 1, every second of which gains `swing` more, and the others less."""
    after = [base + gain + (swing if i % 2 else -swing) for i in range(n)]
    return dict(compare(_rows([base] * n), _rows(after), lambda row: row["hit"]))


def missing(n):
    """No figure on one side."""
    return dict(nothing_to_compare(left_out=n))


def against(n, hits, chance):
    """A state with `hits` right against guesses that are right by `chance`."""
    own = [True] * hits + [False] * (n - hits)
    return dict(compare(_rows([chance] * n), _rows(own), lambda row: row["hit"]))


def _rows(hits):
    return [{"id": str(i), "hit": hit} for i, hit in enumerate(hits)]


def case(compared, **known):
    """The evidence, with nothing special but what is `known`."""
    content = known.get("content")
    plain = {
        "metric": "accuracy",
        "compared": compared,
        "content": None,
        "reading": "read flexibly" if content else None,
        "clean": None,
        "overlap": None,
        "chance": None,
        "guess": "guessing" if known.get("chance") is not None else None,
        "above": {},
        "unparsed": {},
        "lost": {},
        "runs": 1,
    }
    return plain | known


def guessed(n, base, tuned, chance):
    """What is known where there is a level of guessing."""
    return {
        "chance": chance,
        "above": {"base": against(n, base, chance), "tuned": against(n, tuned, chance)},
    }


def near(rows, equal=0):
    """The eval's rows that resemble training rows."""
    return {"equal": equal, "near": rows - equal, "rows": rows}


PROBABILITY = "token_probability"
CASES = {
    "better, form plays no part": case(shares(320, 128, 60, 20)),
    "better in content, by a reading of its own": case(
        shares(320, 128, 60, 20), content=shares(320, 140, 58, 20)
    ),
    "partly form": case(shares(320, 34, 212, 1), content=shares(320, 150, 90, 20)),
    "form alone": case(
        shares(320, 34, 212, 1, family=3),
        content=shares(320, 236, 29, 20, family=3),
        unparsed={"base": 0.84, "tuned": 0.003},
        runs=3,
    ),
    "form, and nothing could be read in the base": case(
        shares(100, 0, 60), content=missing(100), unparsed={"base": 1.0, "tuned": 0.1}
    ),
    "form learned and content lost": case(
        shares(320, 34, 150, 1), content=shares(320, 236, 10, 60)
    ),
    "content gained, not in the form": case(
        shares(320, 100, 20, 15), content=shares(320, 100, 70, 10)
    ),
    "content gained and form lost": case(shares(320, 100, 5, 60), content=shares(320, 100, 70, 10)),
    "form lost": case(shares(320, 200, 3, 120), content=shares(320, 220, 12, 15)),
    "worse": case(shares(320, 200, 10, 60), content=shares(320, 210, 10, 60)),
    "worse, in content alone": case(shares(320, 200, 25, 30), content=shares(320, 230, 5, 40)),
    "undecided": case(shares(320, 128, 24, 20), content=shares(320, 140, 24, 21)),
    "undecided after adjusting for many runs": case(shares(320, 128, 34, 17, family=20), runs=20),
    "nothing differs": case(shares(50, 25)),
    "three rows": case(shares(3, 0, 3)),
    "four rows": case(shares(4, 0, 4)),
    "means": case(means(200, 0.4, 0.05), metric="f1"),
    "text, likelier now": case(means(60, 0.125, 0.025, 0.02), metric=PROBABILITY),
    "text, too few to tell": case(means(60, 0.125, 0.005), metric=PROBABILITY, runs=3),
    "text, as likely": case(means(60, 0.125, 0.0), metric=PROBABILITY),
    "no figure": case(
        missing(60),
        metric="safe_rate",
        unparsed={"base": 0.02, "tuned": 0.12},
        lost={"rejected": 2},
    ),
    "better, from below chance": case(
        shares(240, 26, 160, 5), guess="always saying the most frequent class",
        **guessed(240, 26, 181, 0.5)
    ),
    "up to chance": case(shares(400, 40, 80, 20), **guessed(400, 40, 100, 0.25)),
    "better, still below chance": case(shares(400, 20, 40, 5), **guessed(400, 20, 55, 0.25)),
    "better, from chance": case(shares(400, 100, 120, 20), **guessed(400, 100, 200, 0.25)),
    "undecided at chance": case(shares(400, 100, 30, 25), **guessed(400, 100, 105, 0.25)),
    "worse, down to chance": case(shares(400, 200, 20, 110), **guessed(400, 200, 110, 0.25)),
    "undecided below chance": case(shares(400, 40, 20, 18), **guessed(400, 40, 42, 0.25)),
    "better with and without training rows": case(
        shares(320, 128, 70, 20), clean=shares(168, 70, 40, 8), overlap=near(152)
    ),
    "better on training rows alone": case(
        shares(320, 128, 60, 20), clean=shares(300, 120, 24, 20), overlap=near(20, equal=20)
    ),
    "all rows are training rows": case(shares(20, 4, 14), overlap=near(20, equal=20)),
    "undecided beside training rows": case(
        shares(320, 128, 24, 20), clean=shares(300, 120, 20, 20), overlap=near(20, equal=5)
    ),
    "too little is left without training rows": case(
        shares(40, 5, 30, 1), clean=shares(6, 1, 3), overlap=near(34)
    ),
    "rows were lost": case(
        dict(shares(320, 128, 70, 20), left_out=11), lost={"rejected": 4, "untrained": 57}
    ),
    "better and much unparsed": case(
        shares(320, 128, 70, 20), content=shares(320, 150, 60, 20),
        unparsed={"base": 0.2, "tuned": 0.06}
    ),
    "safe by silence": case(
        dict(shares(100, 60, 30, 2), left_out=20),
        metric="safe_rate",
        content=shares(120, 72, 22, 20),
        reading="counting what has no verdict as not safe",
    ),
    "less safe among verdicts, and as many of all": case(
        dict(shares(100, 80, 2, 20), left_out=20),
        metric="safe_rate",
        content=shares(120, 80, 19, 20),
        reading="counting what has no verdict as not safe",
    ),
    "better in classes that both could be read in": case(
        shares(240, 100, 90, 10),
        content=shares(150, 98, 40, 8),
        reading="where both could be read",
        unparsed={"base": 0.37, "tuned": 0.004},
        **guessed(240, 100, 180, 0.4),
    ),
}  # fmt: skip
