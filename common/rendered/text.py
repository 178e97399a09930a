"""Endless sentences from a seed: English from templates, other languages from invented words."""

from __future__ import annotations

import numpy as np

_WORDS: dict[str, tuple[str, ...]] = {
    kind: tuple(words.split())
    for kind, words in {
        "noun": """
            apple bakery balloon beaver bicycle bishop blanket boat bottle bridge bubble cabin camel
            captain carpet chapter chimney cloud coffee cousin desert doctor dolphin dragon drummer
            elbow engine family farmer feather fiddle finger forest fountain garden ghost giraffe
            grandfather guitar hammer harbour helmet honey house island jacket jungle kettle kitchen
            ladder lantern lemon letter library lobster machine map market meadow melon memory mirror
            monkey moon morning mountain movie museum needle neighbour number oven owl paper parrot
            pepper piano pillow planet potato puzzle queen rabbit radio raven ribbon river robot roof
            sailor salad shadow shovel singer soup spider station storm summer table teacher thunder
            tower travel umbrella valley village violin wagon waterfall weather whale whisper window
            winter wolf woman yoghurt zebra
        """,
        "verb": """
            admired borrowed bought brought built buried called caught chased climbed copied covered
            dropped emptied finished followed forgot found hugged imagined improved kept left lifted
            loved mapped measured mended moved noticed opened painted photographed picked polished
            pulled pushed remembered repaired saved shook showed studied swallowed threw trimmed visited
            warmed watched welcomed wrapped
        """,
        "adjective": """
            ancient awful big blue bold brave bright broken busy calm careful cheap clever cold curious
            damp deep empty enormous famous fluffy foolish friendly frozen funny golden grumpy happy
            heavy humble lazy little lovely muddy narrow noble old perfect playful polite proud purple
            quiet rapid rough round rusty shiny silver simple sleepy smooth soft stubborn tall thin tiny
            tough warm weird wide wild wooden young
        """,
        "adverb": """
            badly boldly calmly early finally gently happily hardly later loudly maybe
            never often only patiently perhaps politely quickly rarely slowly softly soon suddenly
            together tomorrow usually well yesterday
        """,
        "preposition": """
            above across after around before behind below beside beyond by for from near over through
            towards under with without
        """,
        "determiner": """
            a the the the my your our their every some that this another
        """,
        "person": """
            Abby Bob Emma Fabio Fatima George Hugo Ivy Joseph Maya Mia Mohammed Oliver Pavel Penny
            Phoebe Pippa Ravi Sophia Theo Tom Vera Walter Wendy Yusuf Zoe
        """,
        "opening": """
            Actually, And But Look, Maybe Now Once So Then Today Well
        """,
    }.items()
}
_TEMPLATES = (
    "{determiner} {adjective} {noun} {verb} {determiner} {noun} {preposition} {determiner} {noun}.",
    "{person} {adverb} {verb} {determiner} {adjective} {noun}.",
    "{opening} {person} {verb} {determiner} {noun} {preposition} {determiner} {adjective} {noun}.",
    "Why would {person} and {person} have {verb} {determiner} {noun}?",
    "{determiner} {noun} {preposition} {determiner} {noun} was {adjective} and {adjective}.",
    "We {adverb} {verb} {determiner} {noun}, {determiner} {noun} and {determiner} {noun}.",
    "{person}, my {adjective} {noun}, {verb} me {preposition} {determiner} {noun}.",
    "I am {adjective}, you are {adjective}, {person} is {adjective}.",
    "What a {adjective} {noun}!",
    "Give me {number} {adjective} {noun}s.",
    "{opening} they {verb} {number} {noun}s {adverb}.",
)
_NUMBERS = tuple(
    [
        "two",
        "three",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "eleven",
        "twelve",
        "fifteen",
        "forty",
        "fifty",
        "ninety",
    ]
)
_ONSETS = tuple(
    [
        "b",
        "bl",
        "br",
        "d",
        "dr",
        "f",
        "fl",
        "g",
        "gr",
        "h",
        "k",
        "kl",
        "l",
        "m",
        "m",
        "n",
        "p",
        "p",
        "pl",
        "pr",
        "r",
        "s",
        "sk",
        "sl",
        "sm",
        "sp",
        "st",
        "t",
        "tr",
        "v",
        "w",
        "z",
    ]
)
_NUCLEI = tuple(["a", "a", "e", "e", "i", "i", "o", "o", "u", "u", "ai", "au", "ei", "oa"])
_CODAS = ("", "", "", "", "l", "m", "n", "p", "r", "s", "t", "b", "f")
_PSEUDO_SHARE = 0.15


def pseudo_word(rng: np.random.Generator) -> str:
    """A pronounceable word of one to three syllables that no dictionary holds."""
    syllables = int(rng.choice([1, 2, 2, 3]))
    return "".join(str(rng.choice(part)) for _ in range(syllables) for part in (_ONSETS, _NUCLEI, _CODAS))


def _english_sentence(rng: np.random.Generator) -> str:
    words: list[str] = []
    for token in str(rng.choice(_TEMPLATES)).replace("{", " {").replace("}", "} ").split():
        if token == "{number}":
            words.append(str(rng.choice(_NUMBERS)))
        elif token.startswith("{"):
            kind = token[1:-1]
            invented = kind in ("noun", "adjective") and rng.random() < _PSEUDO_SHARE
            words.append(pseudo_word(rng) if invented else str(rng.choice(_WORDS[kind])))
        elif token[0] in ".,?!" or token == "s":
            words[-1] += token
        else:
            words.append(token)
    text = " ".join(words)
    return text[0].upper() + text[1:]


def sentence(rng: np.random.Generator, language: str) -> str:
    """One sentence for a speaker of `language` (an espeak code); what is drawn depends on `rng` alone."""
    if language.startswith("en"):
        return _english_sentence(rng)
    words = [pseudo_word(rng) for _ in range(int(rng.integers(4, 10)))]
    if len(words) > 6:
        words[3] += ","
    return " ".join(words).capitalize() + str(rng.choice([".", ".", "?", "!"]))
