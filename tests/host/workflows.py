"""Graphs in both of ComfyUI's formats: as the page saves them (widget values by position) and as the API takes them (inputs by name)."""

from __future__ import annotations

from typing import Any

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3")
NOTES = ("Note", "MarkdownNote")  # of the page alone
SEEDS = ("seed", "noise_seed")  # which the page gives a rule even where the node does not ask for it
UPLOADS = ("image_upload", "video_upload", "audio_upload")
SLOT_HEIGHT, WIDGET_HEIGHT, REST = 20, 24, 14  # as the page needs them: what is more stays empty
PLACE = ("face_x", "face_y")  # shown where `face` says so


def all_inputs(node: dict[str, Any]) -> list[tuple[str, Any, dict[str, Any], bool]]:
    """(name, type, options, optional) of a node of /object_info, in the page's order: the required ones first."""
    inputs = []
    for group in ("required", "optional"):
        for name, (kind, *rest) in (node["input"].get(group) or {}).items():
            inputs.append((name, kind, rest[0] if rest else {}, group == "optional"))
    return inputs


def is_widget(kind: Any, options: dict[str, Any]) -> bool:
    return not options.get("forceInput") and (isinstance(kind, list) or kind in WIDGETS)


def choices(kind: Any, options: dict[str, Any]) -> list[Any]:
    """What a widget lets one choose from; nothing where it is no choice."""
    listed = options.get("options", kind if isinstance(kind, list) else None) or []
    return [choice["key"] if isinstance(choice, dict) else choice for choice in listed]


def widget_names(node: dict[str, Any]) -> list[str | None]:
    """Which input each of the page's widget values is; None for those that are none (the seed's rule, the upload button)."""
    names: list[str | None] = []
    uploads = 0
    for name, kind, options, _ in all_inputs(node):
        if is_widget(kind, options):
            names.append(name)
            if options.get("control_after_generate") or name in SEEDS:
                names.append(None)
        uploads += any(options.get(key) for key in UPLOADS)
    return names + [None] * uploads


def to_page(prompt: dict[str, Any], info: dict[str, Any], places: dict[str, tuple[int, int]], note: str = "") -> dict[str, Any]:
    """The saved graph of an API prompt, its nodes at `places` (column, row in pixels), with a note in the corner."""
    nodes, links = [], []
    numbers = {key: int(key) for key in prompt}
    for order, (key, entry) in enumerate(prompt.items()):
        node, entered = info[entry["class_type"]], entry["inputs"]
        inputs = []
        for name, kind, options, optional in all_inputs(node):
            if is_widget(kind, options):
                continue
            link = None
            if name in entered:
                source, slot = entered[name]
                link = len(links) + 1
                links.append([link, numbers[source], slot, numbers[key], len(inputs), kind])
            label = {"label": options["display_name"]} if options.get("display_name", name) != name else {}
            inputs.append({"name": name, **label, **({"shape": 7} if optional else {}), "type": kind, "link": link})
        names = widget_names(node)
        usual = {name: options.get("default") for name, _, options, _ in all_inputs(node)}
        values = [entered.get(name, usual[name]) if name else "fixed" for name in names]
        if values and names[-1] is None and any(options.get(key) for *_, options, _ in all_inputs(node) for key in UPLOADS):
            values[-1] = "image"
        outputs = [{"name": name, "type": kind, "links": None} for name, kind in zip(node["output_name"], node["output"])]
        shown = [name for name in names if name not in PLACE or entered.get("face") == "position"]
        height = SLOT_HEIGHT * max(len(inputs), len(outputs)) + WIDGET_HEIGHT * len(shown) + REST
        nodes.append(
            {
                "id": numbers[key],
                "type": entry["class_type"],
                "pos": list(places[key]),
                "size": [320, height + (120 if entry["class_type"] == "DVAEditIdentityClassifier" else 0)],
                "flags": {},
                "order": order,
                "mode": 0,
                "inputs": inputs,
                "outputs": outputs,
                "properties": {"Node name for S&R": entry["class_type"]},
                "widgets_values": values,
                **(
                    {"title": entry["_meta"]["title"]}
                    if entry.get("_meta", {}).get("title", node["display_name"]) != node["display_name"]
                    else {}
                ),
            }
        )
    for link in links:
        source = next(node for node in nodes if node["id"] == link[1])["outputs"][link[2]]
        source["links"] = [*(source["links"] or []), link[0]]
    last = max(numbers.values())
    if note:
        last += 1
        nodes.append(
            {
                "id": last,
                "type": "MarkdownNote",
                "title": "How to use it",
                "pos": [0, -270],
                "size": [560, 180],
                "flags": {},
                "order": len(nodes),
                "mode": 0,
                "inputs": [],
                "outputs": [],
                "properties": {},
                "widgets_values": [note],
            }
        )
    return {
        "last_node_id": last,
        "last_link_id": len(links),
        "nodes": nodes,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {"ds": {"scale": 0.7, "offset": [80, 300]}},
        "version": 0.4,
    }


def to_api(page: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """The prompt of a saved graph, as the page would queue it. KeyError for a node, input or output the server does not have."""
    links = {link[0]: link for link in page["links"]}
    prompt = {}
    for entry in page["nodes"]:
        if entry["type"] in NOTES:
            continue
        node = info[entry["type"]]
        names = widget_names(node)
        defaults = {name: options.get("default") for name, _, options, _ in all_inputs(node)}
        values = entry["widgets_values"]
        inputs = {name: values[i] if i < len(values) else defaults[name] for i, name in enumerate(names) if name}
        kinds = {name: kind for name, kind, *_ in all_inputs(node)}
        for slot in entry["inputs"]:
            if slot["link"] is not None:
                _, source, output, _, _, kind = links[slot["link"]]
                if kinds[slot["name"]] != kind:
                    raise KeyError(f"{entry['type']}.{slot['name']} takes {kinds[slot['name']]}, not {kind}")
                inputs[slot["name"]] = [str(source), output]
        prompt[str(entry["id"])] = {"class_type": entry["type"], "inputs": inputs}
    return prompt
