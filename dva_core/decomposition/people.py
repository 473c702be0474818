"""Several people of one video: one decomposition for each; edited together or one by one, decoded and saved together.

Where a function takes "a decomposition", it may be one person's or several people's; `whom` says which of these are meant.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import DVAError
from ..faces.choice import EVERYBODY, check_name
from ..files import check_spares
from .decomposition import Decomposition
from .info import FORMAT, VERSION_PEOPLE, DecompositionInfo
from .parts import JoinedStore, PartStore, prefix_of
from .tensorfile import TensorFile, TensorStore

Whom = str | int | Sequence[str | int] | None
ALL = ("", *EVERYBODY)  # as texts
SHARED = ("sha256", "width", "height", "rate", "frames", "start", "length", "every", "max_frames", "model_fingerprint")


class People(tuple):
    """The decompositions of two or more people of one video, in the order of their numbers. Immutable.

    Each has its own number (`info.person`), optionally a name (`info.person_name`), and its own z_id, motion, noise maps, masks, squares
    and edits. DVAError for decompositions of different videos or models, or two with the same number or name. See `combine` for
    decompositions without a number.
    """

    def __new__(cls, people: Iterable[Decomposition]) -> People:
        people = sorted(people, key=lambda one: one.info.person)
        check_people(people)
        return super().__new__(cls, people)

    def __repr__(self) -> str:
        return f"<People {', '.join(one.info.who for one in self)} of {self.info.source_name}>"

    __eq__, __ne__, __hash__ = object.__eq__, object.__ne__, object.__hash__

    @property
    def info(self) -> DecompositionInfo:
        """The record of the source; settings, track and person in it are the first one's."""
        return self[0].info

    @property
    def faces(self) -> int:
        """Number of rows of all people in total."""
        return sum(one.faces for one in self)

    @property
    def is_edited(self) -> bool:
        return any(one.is_edited for one in self)

    def without_edits(self) -> People:
        """All people as encoded; see `Decomposition.without_edits`."""
        return People(one.without_edits() for one in self)

    def find_source(self, video: str | Path | None = None, **cure: str) -> Path:
        """As `Decomposition.find_source`."""
        return self[0].find_source(video, **cure)

    def close(self) -> None:
        for one in self:
            one.close()

    def __enter__(self) -> People:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def save(self, path: str | Path) -> None:
        """Write all people with their edits to one .safetensors file, as `Decomposition.save` does.

        It may replace the file that they all come from, but not a file that holds other people too.
        """
        bases = [getattr(one.store, "base", one.store) for one in self]
        wholes = {id(whole): whole for whole in (getattr(base, "whole", None) for base in bases)}
        only = next(iter(wholes.values())) if len(wholes) == 1 else None
        own = [] if only is None or count_people(only) != len(self) else only.files
        check_spares(path, "decomposition", [file for one in self for file in one.read_files if file not in own])
        records, values, left_out = [], {}, []
        for one in self:
            metadata, replaced, names = one.as_saved()
            prefix = prefix_of(one.info.person)
            records.append(metadata)
            values |= {prefix + name: array for name, array in replaced.items()}
            left_out += [prefix + name for name in names]
        JoinedStore({one.info.person: one.store for one in self}).save(path, people_metadata(records), values, left_out)

    @classmethod
    def from_store(cls, store: TensorStore, path: Path) -> People:
        """Make the people of an open store; `path` is for messages. DVAError where it is damaged."""
        try:
            records = [{str(key): str(value) for key, value in record.items()} for record in json.loads(store.metadata["people"])]
            numbers = [int(json.loads(record["person"])) for record in records]
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise DVAError(f"{path} lacks part of what a decomposition holds; encode the video again.") from error
        return cls(Decomposition.from_store(PartStore(store, number, record), path) for number, record in zip(numbers, records))


AnyDecomposition = Decomposition | People


def load_decomposition(path: str | Path) -> AnyDecomposition:
    """Open a file of one person or of several, written by `save` or `encode`; arrays stay on disk until read.

    Raises DVAError when it is missing, truncated, something else, or of a version this program does not know.
    """
    store = TensorFile.open(path)
    try:
        several = store.metadata.get("format") == FORMAT and store.metadata.get("version") == str(VERSION_PEOPLE)
        return (People if several else Decomposition).from_store(store, Path(path))
    except BaseException:
        store.close()
        raise


def people_metadata(records: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Make the metadata of a file of several people from those of each as a file of their own."""
    common = {name: records[0][name] for name in (*SHARED, "format", "source", "dva_version", "model_name")}
    return {**common, "version": str(VERSION_PEOPLE), "people": json.dumps([dict(record) for record in records])}


def count_people(store: TensorStore) -> int:
    """Count the people whose arrays a store holds."""
    return len({name.split(".")[1] for name in store.specs})


# -- who is who ----------------------------------------------------------------------------------------------


def people_of(decomposition: AnyDecomposition) -> tuple[Decomposition, ...]:
    """List the decompositions of single people."""
    return tuple(decomposition) if isinstance(decomposition, People) else (decomposition,)


def parse_whom(whom: Whom) -> list[int | str] | None:
    """Convert "2", "Anna, 3" or [1, "Bert"] to numbers and names; None: everybody. DVAError for anything else."""
    if whom is None or (isinstance(whom, str) and whom.strip().lower() in ALL):
        return None
    several = isinstance(whom, Iterable) and not isinstance(whom, bytes)
    parts = whom.split(",") if isinstance(whom, str) else list(whom) if several else [whom]
    selection = [_number_or_name(part) for part in parts]
    if not selection or None in selection:
        raise DVAError(f"Cannot choose people by {str(whom)[:60]!r}; write their numbers or names with commas between, or all.")
    return selection


def _number_or_name(part: Any) -> int | str | None:
    """Convert one entry of a choice; None for what is neither."""
    if isinstance(part, str):
        part = part.strip()
        return int(part) if re.fullmatch(r"[0-9]{1,9}", part) else part or None
    try:
        return None if isinstance(part, bool) else operator.index(part)
    except TypeError:
        return None


def choose(decomposition: AnyDecomposition, whom: Whom = None) -> list[int]:
    """Find the positions in `people_of` of the people that are meant: all, or by number or name, ignoring case.

    DVAError for a number or a name that does not exist. A decomposition of one person without a number has number 1.
    """
    selection, people = parse_whom(whom), people_of(decomposition)
    if selection is None:
        return list(range(len(people)))
    places = {one.info.person or 1: place for place, one in enumerate(people)}
    places |= {one.info.person_name.lower(): place for place, one in enumerate(people) if one.info.person_name}
    for who in selection:
        if (who.lower() if isinstance(who, str) else who) not in places:
            some = "people " if len(people) > 1 else "one person, "
            raise DVAError(f"There is no person {str(who)[:60]} in this decomposition, which holds {some}{describe_people(people)}.")
    return sorted({places[who.lower() if isinstance(who, str) else who] for who in selection})


def describe_people(people: Iterable[Decomposition]) -> str:
    """List people for a message: "1, Anna (2) and 3"."""
    names = [one.info.who or "1" for one in people]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def one_person(decomposition: AnyDecomposition, whom: Whom = None, what: str = "This") -> Decomposition:
    """Return the one person that is meant; DVAError, saying that `what` needs one person, if several may be meant."""
    places = choose(decomposition, whom)
    if len(places) > 1:
        raise DVAError(
            f"{what} looks at one person, and there are {describe_people(people_of(decomposition))}; say which by number or name."
        )
    return people_of(decomposition)[places[0]]


def edit_people(decomposition: AnyDecomposition, whom: Whom, edit: Callable[[Decomposition], Decomposition]) -> AnyDecomposition:
    """Apply `edit` to the people that are meant; the others are left unchanged."""
    places = choose(decomposition, whom)
    if not isinstance(decomposition, People):
        return edit(decomposition)
    return People(edit(one) if place in places else one for place, one in enumerate(decomposition))


# -- taking apart and together -------------------------------------------------------------------------------


def pick(decomposition: AnyDecomposition, whom: Whom) -> tuple[AnyDecomposition, AnyDecomposition | None]:
    """Split into the people that are meant and the others (None: nobody is left)."""
    places = choose(decomposition, whom)
    people = people_of(decomposition)
    rest = [one for place, one in enumerate(people) if place not in places]
    return together([people[place] for place in places]), together(rest) if rest else None


def together(people: Sequence[Decomposition]) -> AnyDecomposition:
    """Make a `People` of two or more decompositions; a single one is returned as it is."""
    return people[0] if len(people) == 1 else People(people)


def combine(*decompositions: AnyDecomposition) -> AnyDecomposition:
    """Combine people that were encoded or edited separately. Those without a number get the lowest free ones.

    DVAError for different videos or models, a person who is there twice, or an argument that is no decomposition.
    """
    for one in decompositions:
        if not isinstance(one, (Decomposition, People)):
            raise DVAError(f"A {type(one).__name__} cannot be put together with others; give decompositions, as both of pick.")
    people = [one for decomposition in decompositions for one in people_of(decomposition)]
    if len(people) == 1:
        return people[0]
    numbers = {one.info.person for one in people}
    free = (number for number in range(1, len(people) + len(numbers) + 1) if number not in numbers)
    return together([one if one.info.person else with_info(one, person=next(free)) for one in people])


def with_info(decomposition: AnyDecomposition, **values: Any) -> AnyDecomposition:
    """Change fields of the record, for all people."""
    people = [replace(one, info=replace(one.info, **values)) for one in people_of(decomposition)]
    return together(people)


def check_people(people: Sequence[Decomposition]) -> None:
    """DVAError unless the decompositions can be a `People`."""
    if len(people) < 2:
        raise DVAError("There are not even two people to put together; give two or more.")
    first = people[0].info
    for one in people[1:]:
        if [name for name in SHARED if getattr(one.info, name) != getattr(first, name)]:
            raise DVAError(
                f"The people to put together are of different videos, parts of a video or models ({first.source_name}, "
                f"{one.info.source_name}); encode them from the same frames with one model."
            )
    numbers = [one.info.person for one in people]
    names = [check_name(one.info.person_name).lower() for one in people if one.info.person_name]
    for item in (*numbers, *names):
        if item == 0 or (*numbers, *names).count(item) > 1:
            raise DVAError(
                f"Person {item} is there twice; put different people together." if item else "A person has no number; use combine."
            )
