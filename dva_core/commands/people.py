"""`people`: lists, splits and combines the people of decompositions."""

from __future__ import annotations

import argparse

from ..decomposition.people import AnyDecomposition, choose, combine, load_decomposition, people_of, pick, together, with_info
from ..errors import DVAError
from ..faces.choice import check_name
from ..files import check_input, check_spares
from ..pipeline.report import describe_track
from .paths import check_tensors
from .terminal import answer, show

PEOPLE = (
    "Lists the people of decompositions of one video. With -o puts them together in a file, or keeps --person of them in a file of their "
    "own. `faces` lists the people of a video."
)


def add_commands(commands) -> None:
    people = commands.add_parser("people", help="list, split and combine the people of decompositions", description=PEOPLE)
    people.add_argument("inputs", nargs="+", metavar="DECOMPOSITION.safetensors", help="what `encode` wrote, of one video")
    people.add_argument("--person", metavar="WHO", help="only these, by number or name, such as 2 or Anna,3")
    people.add_argument("--name", action="append", default=[], metavar="N=NAME", help="name person N; repeat for several")
    people.add_argument("-o", "--output", metavar="DECOMPOSITION.safetensors", help="where to write them")
    people.add_argument("--json", action="store_true", help="print the outcome as JSON on stdout")
    people.set_defaults(run=run_people)


def run_people(args: argparse.Namespace) -> None:
    if args.output:
        check_tensors(args.output, "decomposition")
        check_spares(args.output, "output", args.inputs)
    result = give_names(combine(*(load_decomposition(check_input(path)) for path in args.inputs)), args.name)
    result, _ = pick(result, args.person)
    lines = [f"{one.info.who or 1}: {describe_track(one.info.track)}; {len(one.operations)} edits." for one in people_of(result)]
    if args.output:
        result.save(args.output)
        lines.append(f"Wrote {args.output}.")
    people = [
        {"person": one.info.person or 1, "name": one.info.person_name, "faces": one.faces, "operations": one.operations}
        for one in people_of(result)
    ]
    if args.json:
        answer({"output": args.output, "people": people}, True, "")
    else:
        show("\n".join(lines))


def give_names(decomposition: AnyDecomposition, names: list[str]) -> AnyDecomposition:
    """Name people by N=NAME. DVAError for another format, or a number that does not exist."""
    people = list(people_of(decomposition))
    for entry in names:
        number, equals, name = entry.partition("=")
        if not equals or not number.strip().isdecimal():
            raise DVAError(f"The name {entry[:60]!r} has no number; write the number and the name, such as 2=Anna.")
        (place,) = choose(decomposition, int(number))
        people[place] = with_info(people[place], person=int(number), person_name=check_name(name))
    return together(people)
