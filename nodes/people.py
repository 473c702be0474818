"""Split People, Combine People."""

from __future__ import annotations

from comfy_api.latest import io

from dva_core.decomposition.people import combine, describe_people, people_of, pick
from dva_core.errors import DVAError

from . import status
from .schema import schema
from .types import CATEGORY, DecompositionType, check_person

SEVERAL = ("b", "c", "d")


class SplitPeople(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVASplitPeople",
            display_name="Split People",
            category=CATEGORY,
            description="Takes people out of a decomposition of several, so that they can be edited in a branch of their own; Combine "
            "People puts them together again.",
            search_aliases=["person", "several faces", "multiple faces", "separate"],
            inputs=[
                DecompositionType.Input(
                    "decomposition", display_name="decomposition", tooltip="The decomposition of several people, edited or not."
                ),
                io.String.Input(
                    "person",
                    default="1",
                    dynamic_prompts=False,
                    display_name="person",
                    tooltip="Who is taken out: numbers or names with commas between, such as 1 or Anna, 3.",
                ),
            ],
            outputs=[
                DecompositionType.Output("person_out", display_name="person", tooltip="Those who were named."),
                DecompositionType.Output("rest", display_name="rest", tooltip="The others."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, person: str | None = None) -> bool | str:
        return check_person(person)

    @classmethod
    def execute(cls, decomposition, person: str) -> io.NodeOutput:
        chosen, rest = pick(decomposition, person)
        if rest is None:
            raise DVAError(
                f"The decomposition holds {describe_people(people_of(decomposition))} and nobody else, so there is nothing to split; name "
                "some of several people."
            )
        names = describe_people(people_of(chosen)), describe_people(people_of(rest))
        status.tell(cls.hidden.unique_id, f"{names[0]} apart from {names[1]}")
        return io.NodeOutput(chosen, rest)


class CombinePeople(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVACombinePeople",
            display_name="Combine People",
            category=CATEGORY,
            description="Puts people of one video together that were split, or encoded apart, so that Decode DDIM pastes them all in one "
            "go, the larger face in front.",
            search_aliases=["person", "several faces", "multiple faces", "merge", "join"],
            inputs=[
                DecompositionType.Input("a", display_name="a", tooltip="One person or several, with their edits."),
                *(
                    DecompositionType.Input(
                        name, optional=name != "b", display_name=name, tooltip="More people of the same frames of the same video."
                    )
                    for name in SEVERAL
                ),
            ],
            outputs=[DecompositionType.Output("people", display_name="decomposition", tooltip="All of them together.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, a, b, c=None, d=None) -> io.NodeOutput:
        people = combine(*(part for part in (a, b, c, d) if part is not None))
        status.tell(cls.hidden.unique_id, f"{len(people)} people: {describe_people(people)}")
        return io.NodeOutput(people)
