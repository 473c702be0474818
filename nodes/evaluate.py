"""Evaluate."""

from __future__ import annotations

from comfy_api.latest import io

from dva_core.decomposition.people import choose, people_of

from . import status
from .image import to_image
from .schema import schema
from .types import CATEGORY, DecompositionType, Model, person_input
from .video import as_file, source_inputs, source_of


class Evaluate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVAEvaluate",
            display_name="Evaluate Edit",
            category=CATEGORY,
            description="Measures an edited video against its source: does the face stay one person over time (TL-ID, TG-ID), does it "
            "flicker, how much changed in the face, and did anything change outside it.",
            search_aliases=["metrics", "flicker", "consistency", "TL-ID", "TG-ID", "identity"],
            inputs=[
                DecompositionType.Input(
                    "decomposition", display_name="decomposition", tooltip="The decomposition, from Encode Decomposed."
                ),
                Model.Input("model", display_name="model", tooltip="The model the video was encoded with; its identity encoder judges."),
                io.Video.Input("video", display_name="edited video", tooltip="The result, from Decode DDIM: same frames, same size."),
                io.Video.Input(
                    "source",
                    optional=True,
                    display_name="source video",
                    tooltip="The video's source, for a loaded decomposition whose video is no longer where it was.",
                ),
                *source_inputs(),
                person_input("Whom to measure"),
            ],
            outputs=[
                io.String.Output("table", display_name="table", tooltip="The figures as a Markdown table, for Preview as Text or a file."),
                io.Image.Output("plot", display_name="plot", tooltip="Likeness of neighbouring frames over time, before and after."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, decomposition, model, video, source=None, images=None, audio=None, person: str = "") -> io.NodeOutput:
        from dva_core.evaluate.consistency import edit_table, measure_edit
        from dva_core.evaluate.judges import own_judge
        from dva_core.evaluate.plots import draw_consistency

        judge, after = own_judge(model), as_file(video)[0]
        place = source_of(decomposition, source, images, audio)
        people = [people_of(decomposition)[i] for i in choose(decomposition, person)]
        names = [f"person {one.info.who}" if len(people) > 1 else "edit" for one in people]
        figures = {
            name: measure_edit(decomposition, after, judge, video=place, progress=status.NodeProgress(1), person=one.info.person or None)
            for name, one in zip(names, people)
        }
        told = [f"{'' if name == 'edit' else f'{name}: '}TL-ID {one.tl_id:.3f}, TG-ID {one.tg_id:.3f}" for name, one in figures.items()]
        status.tell(cls.hidden.unique_id, "; ".join(told))
        plot = to_image(draw_consistency(figures)[None])
        return io.NodeOutput("\n\n".join(edit_table(one, judge, name).markdown() for name, one in figures.items()), plot)
