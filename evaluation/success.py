"""When the dub of one row counts as a success: rules that are written down, not an impression.

X-Dub and others report a success rate that people judged ("is this usable?"). No person judges here; a dub
succeeds when no rule that could be applied is broken:

1. there is a dub, as long as the source: the same frames but for one, and the same time but for one frame;
2. the face is found in it wherever the source has one (nearly);
3. where there is speech, the mouth moves with it: it opens far enough, at the right time, and is not the
   source's own;
4. where there is silence, the mouth stays shut;
5. it can be looked at: the mouth is not blurred, the picture around it is kept, no edge of a patch shows.

A rule whose value is missing is not applied: what was not measured cannot fail, and a row on which no rule
could be applied is neither success nor failure. The limits are mild: they tell broken from usable; good from
better is told by the metrics themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evaluation.metrics.base import ALL_KINDS, Kind, Values


@dataclass(frozen=True)
class Limits:
    """Where a rule breaks.

    Attributes:
        frames: frames that the dub may have more or fewer than the source.
        length_error: seconds that it may be longer or shorter.
        face_found: least share of the source's frames with a face that show one in the dub.
        mouth_gain: least opening movement, made over spoken.
        mouth_lag: frames that the lips may be early or late, either way.
        mouth_r: correlation of openings that excuses a larger lag: over few syllables the lag is uncertain.
            Above what a copied mouth reaches by chance on two seconds.
        lip_leak: how much of the source's own mouth may be left under other speech.
        silence_closed: least share of frames with the mouth shut.
        sharpness_mouth: least sharpness of the mouth, made over source.
        psnr_outside: least PSNR outside the face, dB.
        patch_edge: delta E; 2.3 is the just noticeable difference in CIELAB (Mahy et al. 1994).
    """

    frames: int = 1
    length_error: float = 0.041
    face_found: float = 0.95
    mouth_gain: float = 0.3
    mouth_lag: float = 2.0
    mouth_r: float = 0.4
    lip_leak: float = 0.7
    silence_closed: float = 0.8
    sharpness_mouth: float = 0.4
    psnr_outside: float = 30.0
    patch_edge: float = 2.3


@dataclass(frozen=True)
class Facts:
    """What is known of a row besides its metrics.

    Attributes:
        made: whether there is a dub; None = unknown.
        source_frames, made_frames: at 25 per second; None = unknown.
        speech: whether the row's audio has speech in it.
    """

    made: bool | None = None
    source_frames: int | None = None
    made_frames: int | None = None
    speech: bool = True


Check = Callable[[Values, Facts, Limits], str | None]


@dataclass(frozen=True)
class Rule:
    """One rule. `holds` says it in words for the report, with the names of Limits in braces.

    `needs`: metric keys of which one at least must be there; `check` gives the reason of a failure or None.
    """

    name: str
    holds: str
    kinds: tuple[Kind, ...]
    needs: tuple[str, ...]
    check: Check
    speech: bool = False

    def sentence(self, limits: Limits) -> str:
        return self.holds.format(**vars(limits))


def _at_least(key: str, what: str, unit: str = "") -> Check:
    def check(values: Values, facts: Facts, limits: Limits) -> str | None:
        least = getattr(limits, key)
        if values[key] >= least:
            return None
        return f"{what} is {values[key]:.2f}{unit}, at least {least:g}{unit} is wanted"

    return check


def _share(key: str, what: str) -> Check:
    check = _at_least(key, what)

    def of_one(values: Values, facts: Facts, limits: Limits) -> str | None:
        # A percentage would pass every limit.
        if not 0 <= values[key] <= 1:
            raise ValueError(f"{key} must be a share of 0 to 1, not {values[key]}")
        return check(values, facts, limits)

    return of_one


def _long_enough(values: Values, facts: Facts, limits: Limits) -> str | None:
    error = abs(values["length_error"])
    return None if error <= limits.length_error else f"the dub's length is {error:.2f} s off"


def _in_time(values: Values, facts: Facts, limits: Limits) -> str | None:
    lag, r = values.get("mouth_lag"), values.get("mouth_r")
    if (lag is not None and abs(lag) <= limits.mouth_lag) or (r is not None and r >= limits.mouth_r):
        return None
    seen = [f"lag {lag:+.0f} frames"] if lag is not None else []
    seen += [f"r {r:.2f}"] if r is not None else []
    return f"the lips do not follow the speech ({', '.join(seen)})"


def _with_own_speech(values: Values, facts: Facts, limits: Limits) -> str | None:
    least = min(value for key, value in values.items() if key.startswith(_ASYNC))
    if least <= limits.mouth_lag:
        return None
    return f"the lips are {least:.0f} frames off the speech that the dub makes"


def _replaced(values: Values, facts: Facts, limits: Limits) -> str | None:
    leak = abs(values["lip_leak"])
    return None if leak <= limits.lip_leak else f"the mouth is still the source's (lip leak {leak:.2f})"


def _unseamed(values: Values, facts: Facts, limits: Limits) -> str | None:
    edge = abs(values["patch_edge"])
    return None if edge <= limits.patch_edge else f"the edge of a patch shows (delta E {edge:.1f})"


_SPOKEN = (Kind.cross, Kind.self, Kind.cycle)
_ASYNC = "async_"

RULES = (
    Rule(
        "length",
        "the dub is as long as the source, but for {length_error} s",
        ALL_KINDS,
        ("length_error",),
        _long_enough,
    ),
    Rule(
        "face",
        "a face is found in {face_found:.0%} of the frames in which the source has one",
        ALL_KINDS,
        ("face_found",),
        _share("face_found", "the share of frames with a face"),
    ),
    Rule(
        "movement",
        "the mouth moves: gain of at least {mouth_gain} (rows with other speech)",
        (Kind.cross,),
        ("mouth_gain",),
        _at_least("mouth_gain", "the gain of the mouth's movement"),
        speech=True,
    ),
    Rule(
        "timing",
        "the lips follow the speech: at most {mouth_lag:g} frames off, or r of at least {mouth_r}",
        _SPOKEN,
        ("mouth_lag", "mouth_r"),
        _in_time,
        speech=True,
    ),
    Rule(
        "own speech",
        "the lips follow the speech that the dub makes: by one judge at most {mouth_lag:g} frames off",
        _SPOKEN,
        ("async_own", "async_syncnet"),
        _with_own_speech,
        speech=True,
    ),
    Rule(
        "leak",
        "under other speech the source's lips are gone: lip leak of at most {lip_leak}",
        (Kind.cross,),
        ("lip_leak",),
        _replaced,
        speech=True,
    ),
    Rule(
        "silence",
        "in silence the mouth is shut in {silence_closed:.0%} of the frames",
        (Kind.silence,),
        ("silence_closed",),
        _share("silence_closed", "the share of frames with the mouth shut"),
    ),
    Rule(
        "sharpness",
        "the mouth keeps {sharpness_mouth:.0%} of the source's sharpness",
        ALL_KINDS,
        ("sharpness_mouth",),
        _at_least("sharpness_mouth", "the mouth's sharpness over the source's"),
    ),
    Rule(
        "surroundings",
        "the picture outside the face is kept: {psnr_outside:g} dB",
        ALL_KINDS,
        ("psnr_outside",),
        _at_least("psnr_outside", "the PSNR outside the face", " dB"),
    ),
    Rule(
        "patch",
        "no edge of a patch shows: delta E of at most {patch_edge}",
        ALL_KINDS,
        ("patch_edge",),
        _unseamed,
    ),
)
"""Rules on metrics, in the order in which reasons are given. Before them come those on the Facts."""


def rule_sentences(limits: Limits | None = None) -> list[str]:
    """All rules in words, for the foot of a report."""
    limits = limits or Limits()
    frames = f"there is a dub, with the source's frames but for {limits.frames}"
    return [frames, *(rule.sentence(limits) for rule in RULES)]


def success_of(
    values: Values, kind: Kind | str, facts: Facts | None = None, limits: Limits | None = None
) -> tuple[bool | None, tuple[str, ...]]:
    """Whether a row is a success.

    Args:
        values: metrics of the row; those of RULES are read.
        kind: of the row.
        facts: what is known besides.
        limits: where rules break.

    Returns:
        (True, ()), (False, one sentence per broken rule) or (None, ()) where no rule could be applied.

    Raises:
        ValueError: a share that is not one.
    """
    facts, limits, kind = facts or Facts(), limits or Limits(), Kind(kind)
    if facts.made is False:
        return False, ("there is no dub",)
    applied, reasons = 0, []
    if facts.source_frames is not None and facts.made_frames is not None:
        applied += 1
        if abs(facts.made_frames - facts.source_frames) > limits.frames:
            reasons.append(f"the dub has {facts.made_frames} frames, the source {facts.source_frames}")
    for rule in RULES:
        if kind not in rule.kinds or (rule.speech and not facts.speech):
            continue
        if not any(key in values for key in rule.needs):
            continue
        applied += 1
        if (reason := rule.check(values, facts, limits)) is not None:
            reasons.append(reason)
    return (not reasons if applied else None), tuple(reasons)
