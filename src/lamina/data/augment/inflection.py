"""English endings where they are safe: -s, -ed and -ing of regular words. A word in doubt gets no form at all.

A wrong form is worse than a word left alone, so irregular words, words whose last letters don't tell (-o, -f, -us, -is)
and longer words whose consonant might double (visit, begin) have none.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_IRREGULAR_NOUNS = _words(
    """man woman child foot tooth goose mouse louse ox person penny die brother sheep deer fish moose swine aircraft
    series species means news cattle police people offspring trout salmon bison shrimp cod corps music information
    furniture advice equipment luggage baggage knowledge homework money traffic luck weather rice bread butter water
    milk gold silver air evidence research progress software hardware machinery scenery jewelry jewellery clothing mud
    wheat sunshine dirt dust stuff fun health wealth rubbish garbage"""
)
_IRREGULAR_VERBS = _words(
    """be have do go say make get know think take see come give find tell become leave feel put bring begin keep hold
    write stand hear let mean set meet run pay sit speak lie lead read grow lose fall send build understand draw break
    spend cut rise drive buy wear choose seek shoot fight throw catch win teach sell beat forget bear fly eat sing
    hang lay strike steal shake ride blow sleep feed swim drink ring hide spread swing wake cast bind arise burst
    sweep sink stick shut sting spin split bite dig tear deal dream burn learn smell spell spill spoil leap lean kneel
    light weave weep wind wring swear swell shrink shine sew saw show sow slide slay slit sling slink shed shear shave
    strive stride string quit rid rend prove plead partake overcome outdo mow mistake lend leap knit hurt hit hew
    grind freeze forsake forgive forbid foresee flee fling fit dwell dive creep cost cling breed bid bet bend beget
    behold beseech awake abide withdraw withhold withstand undergo undertake uphold upset rebuild resell retell
    rewrite redo remake rerun reset overdo override oversee overtake overthrow outgrow input output broadcast forecast
    offset thrust tread wed wet sweat speed sling slink spit spring sprint stink swell can may must shall will"""
)
#: Forms of irregular verbs that are words of their own too; what they mean here cannot be told from the form.
IRREGULAR_FORMS = _words(
    """was were been had did done went gone said made got gotten knew known thought took taken saw seen came gave given
    found told became left felt put brought began begun kept held wrote written stood heard let meant met ran paid sat
    spoke spoken led read grew grown lost fell fallen sent built understood drew drawn broke broken spent cut rose
    risen drove driven bought wore worn chose chosen sought shot fought threw thrown caught won taught sold beat
    forgot bore flew flown ate eaten sang sung hung lay laid struck stole shook rode ridden blew slept fed swam drank
    drunk rang rung hid hidden spread swung woke cast bound arose swept sank sunk stuck shut stung spun split bit
    bitten dug tore torn dealt dreamt burnt learnt smelt spelt spilt spoilt leapt leant knelt lit wove wound wrung
    swore sworn swelled shone shown sewn sown slid slit slung shed strove strode strung quit rid pleaded lent ground
    froze frozen forgave fled flung dwelt dove crept cost clung bred bid bet bent might could would should"""
)
_STRESSED = _words("refer prefer confer defer infer transfer deter inter disinter aver")
_VOWELS = "aeiou"


def ending_s(word: str) -> str | None:
    """The plural, or the third person: house, houses; None where that is in doubt."""
    if word in _IRREGULAR_NOUNS or not _plain(word) or word in ("be", "have", "do", "go"):
        return None
    if word.endswith(("man", "foot", "tooth", "goose", "mouse", "f", "fe", "us", "is", "o", "ics", "um", "a", "i")):
        return None
    if word.endswith(("ss", "x", "ch", "sh", "zz")):
        return word + "es"
    if word.endswith(("s", "z", "on")) and not word.endswith(("ion", "son", "ton", "oon", "don")):
        return None
    if word.endswith("y") and word[-2] not in _VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def ending_ed(word: str) -> str | None:
    """The past tense of a regular verb: place, placed; None where the verb is irregular or the spelling in doubt."""
    cores = (word, *(word.removeprefix(prefix) for prefix in ("re", "un", "mis", "over", "under", "out", "fore")))
    return None if any(core in _IRREGULAR_VERBS for core in cores) else _stem(word, "ed")


def ending_ing(word: str) -> str | None:
    """The present participle: place, placing."""
    if word in ("be", "can", "may", "must", "shall", "will"):
        return None
    return _stem(word, "ing")


def _plain(word: str) -> bool:
    return len(word) > 2 and word.isascii() and word.isalpha() and word.islower()


def _stem(word: str, ending: str) -> str | None:
    if not _plain(word):
        return None
    vowel = ending[0]
    if word.endswith("ie"):
        return word + "d" if vowel == "e" else word[:-2] + "ying"
    if word.endswith(("ee", "oe", "ye")):
        return word + ("d" if vowel == "e" else ending)
    if word.endswith("e"):
        return word[:-1] + ending
    if word.endswith("y") and word[-2] not in _VOWELS:
        return word[:-1] + "ied" if vowel == "e" else word + ending
    if word.endswith("c"):
        return None
    last, before = word[-1], word[-2]
    if last in _VOWELS or last in "wxy" or before not in _VOWELS:
        return word + ending
    if word[-3] in _VOWELS and not (word[-3] == "u" and len(word) > 3 and word[-4] == "q"):
        return word + ending  # two vowels: need, needed
    sounds = word.replace("y", "i")
    syllables = sum(b in _VOWELS and a not in _VOWELS for a, b in zip(" " + sounds, sounds, strict=False))
    if syllables == 1:
        return word + last + ending
    return word + ending if word.endswith(("en", "on", "er")) and word not in _STRESSED else None
