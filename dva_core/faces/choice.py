"""The choice among the people of a survey as a small JSON object, written by the node Choose Faces or by a script."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from dva_core.errors import DVAError

if TYPE_CHECKING:
    from dva_core.faces.people import Person, Survey

EVERYONE = "all"
EVERYBODY = (EVERYONE, "everyone")  # as words of a user
MOST_SEEN = (1,)  # the default choice
LONGEST_NAME = 60
LONGEST = 100_000  # characters of a choice
KEYS = ("people", "names", "shots", "survey")
EXAMPLE = 'write for example {"people": [1, 3], "names": {"1": "Anna"}}'


@dataclass(frozen=True)
class PeopleChoice:
    """A choice among the people of a survey.

    people: their numbers, None for all. names: number -> name. shots: number of a shot -> the people chosen in that shot instead,
    possibly none. survey: key of the survey whose numbers these are (`pipeline.people.survey_key`), "" for any.
    """

    people: tuple[int, ...] | None = MOST_SEEN
    names: Mapping[int, str] = field(default_factory=dict)
    shots: Mapping[int, tuple[int, ...] | None] = field(default_factory=dict)
    survey: str = ""

    def to_json(self) -> str:
        """Write the choice in the form that `parse_choice` reads."""
        value: dict[str, Any] = {"people": _as_json(self.people)}
        if self.names:
            value["names"] = {str(number): name for number, name in self.names.items()}
        if self.shots:
            value["shots"] = {str(shot): _as_json(people) for shot, people in self.shots.items()}
        if self.survey:
            value["survey"] = self.survey
        return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class ChosenPerson:
    """One person to be followed. spans: [first, last] frame of the stretches in which the person is chosen; None: all frames."""

    person: Person
    name: str = ""
    spans: list[list[int]] | None = None

    @property
    def number(self) -> int:
        return self.person.number

    def is_meant(self, frame: int) -> bool:
        """Tell whether the person is chosen in a frame."""
        return self.spans is None or any(first <= frame <= last for first, last in self.spans)


def parse_choice(text: str) -> PeopleChoice:
    """Parse a choice; an empty text is the default: the person seen most. DVAError, one sentence, for anything else.

    {"people": [1, 3] or "all", "names": {"1": "Anna"}, "shots": {"2": [3], "4": []}, "survey": "..."}: all optional.
    """
    if not text.strip():
        return PeopleChoice()
    if len(text) > LONGEST:
        raise DVAError(f"The choice of faces has {len(text)} characters, more than {LONGEST}; choose again.")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "it cannot be read"
        raise DVAError(f"The choice of faces {_short(text)} is no JSON ({reason}); {EXAMPLE}, or leave it empty.") from error
    if not isinstance(value, dict):
        _refuse(f"The choice of faces {_short(text)} is no JSON object")
    if unknown := [key for key in value if key not in KEYS]:
        _refuse(f"The choice of faces holds {_short(unknown[0])}, which is none of {', '.join(KEYS)}")
    names, shots, key = value.get("names", {}), value.get("shots", {}), value.get("survey", "")
    for what, entry, kind in (("names", names, dict), ("shots", shots, dict), ("survey", key, str)):
        if not isinstance(entry, kind):
            _refuse(f"The {what} of the choice of faces cannot be {_short(entry)}")
    choice = PeopleChoice(
        _numbers(value.get("people", list(MOST_SEEN))),
        _names(names),
        {_number(shot, "shot"): _numbers(people) for shot, people in shots.items()},
        key,
    )
    if choice.people == () and not any(people is None or people for people in choice.shots.values()):
        raise DVAError("Nobody is chosen; click at least one face, or leave the choice empty for the person seen most.")
    return choice


def is_people(text: str) -> bool:
    """Tell whether a choice of faces means people, by number or all, rather than one face by a rule such as "largest"."""
    text = text.strip().lower()
    return text in EVERYBODY or text[:1] in tuple("{[,-+0123456789")


def parse_people(text: str) -> PeopleChoice:
    """Parse "all", numbers such as "1, 3", or a choice as `parse_choice` does. DVAError, one sentence, for anything else."""
    text = text.strip()
    if text.lower() in EVERYBODY:
        return PeopleChoice(None)
    if text[:1] == "{":
        return parse_choice(text)
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise DVAError(f"Cannot choose people by {_short(text)}; write all, or their numbers with commas between, such as 1,3.")
    if not all(0 < int(part) < 10**9 for part in parts):
        raise DVAError(f"Cannot choose people by {_short(text)}; the number of a person cannot be 0 or so large, the first is 1.")
    return PeopleChoice(tuple(sorted({int(part) for part in parts})))


def choose_people(choice: PeopleChoice, survey: Survey, key: str = "") -> list[ChosenPerson]:
    """Find the chosen people in a survey, by number. key: the survey's key, compared with that of the choice.

    DVAError if the survey is empty, a number or a shot does not exist, nobody is chosen, or the choice was made for another video.
    """
    if choice.survey and key and choice.survey != key:
        raise DVAError(
            "The faces were chosen in another video, part of a video or model, where the numbers mean others; choose them again here, or "
            "clear the choice."
        )
    if not survey.people:
        raise DVAError("No face was found in the video; use one that shows faces large and bright enough, or another part of it.")
    person_of = {person.number: person for person in survey.people}
    numbers = [*choice.names, *(choice.people or ()), *(number for people in choice.shots.values() for number in people or ())]
    for number in numbers:
        if number not in person_of:
            there = {1: "only person 1 was", 2: "people 1 and 2 were"}.get(len(person_of), f"people 1 to {len(person_of)} were")
            raise DVAError(f"There is no person {number} in this video, in which {there} found; choose among these.")
    for shot in choice.shots:
        if shot > len(survey.shots):
            there = "only one" if len(survey.shots) == 1 else f"{len(survey.shots)}"
            raise DVAError(f"There is no shot {shot} in this video, which has {there}; leave it out of the choice.")
    people_chosen = []
    for number, person in person_of.items():
        of_shots = [choice.shots.get(shot, choice.people) for shot in range(1, len(survey.shots) + 1)]
        there = [people is None or number in people for people in of_shots]
        if any(there):
            spans = [list(shot) for shot, is_there in zip(survey.shots, there) if is_there]
            people_chosen.append(ChosenPerson(person, choice.names.get(number, ""), None if all(there) else spans))
    if not people_chosen:
        raise DVAError("Nobody is chosen in any shot of this video; click at least one face, or leave the choice empty.")
    return people_chosen


def check_name(name: Any) -> str:
    """Return a person's name without surrounding blanks; DVAError if it could be taken for a number or a list."""
    text = name.strip() if isinstance(name, str) else ""
    if not text or len(text) > LONGEST_NAME or "," in text or text.isdecimal() or not text.isprintable() or text.lower() in EVERYBODY:
        raise DVAError(f"A person cannot be called {_short(name)}; use a short name without commas that is no number.")
    return text


def _names(names: Mapping[str, Any]) -> dict[int, str]:
    read = {_number(number, "person"): check_name(name) for number, name in names.items()}
    lower_names = [name.lower() for name in read.values()]
    if twice := next((name for name in lower_names if lower_names.count(name) > 1), None):
        raise DVAError(f"Two people are called {_short(twice)}; give each a name of their own.")
    return read


def _numbers(value: Any) -> tuple[int, ...] | None:
    if value == EVERYONE:
        return None
    if not isinstance(value, list):
        _refuse(f"The chosen people cannot be {_short(value)}")
    return tuple(sorted({_number(number, "person") for number in value}))


def _number(value: Any, what: str) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 10**9:
        _refuse(f"The number of a {what} cannot be {_short(value)}")
    return value


def _as_json(people: tuple[int, ...] | None) -> list[int] | str:
    return EVERYONE if people is None else list(people)


def _short(value: Any) -> str:
    return repr(value)[:60]


def _refuse(why: str) -> NoReturn:
    raise DVAError(f"{why}; {EXAMPLE}, or leave it empty.")
