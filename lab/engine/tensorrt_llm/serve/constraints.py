"""What a request wants to bind its answer by: response_format and tool_choice.

The PyTorch backend constrains an answer only where `guided_decoding_backend` is set. Where it is not, the
wish is dropped without a word and the answer, with 200, is free text: reported for 1.2.1
(NVIDIA/TensorRT issue 4855) and for 1.3.0rc9 on a DGX Spark (SynaLinks/synalinks pull request 50, which
names no guided decoder). Later releases are not known; here they refuse. Constrained answers are not
simulated: refused too.

A function that tool_choice names got the whole text as its arguments, whatever that was. Since pull request
14290 (May 2026 or later) it takes guided decoding and a tool parser, and is refused without. Which release
has that first is not known: here the first after 1.3.0rc13. `required` was no value of tool_choice in the
schemas of early 2026; the newest take it. From which release on, and to what effect, is not known: refused.
"""

from typing import Any

from ..version import at_least
from .errors import Refused
from .model import Model

Json = dict[str, Any]
GUIDED_TOOLS = "1.3.0rc14"
"""First release in which a named function may need guided decoding."""
UNREPORTED_FORMATS = "1.3.0rc10"
"""First release after those whose treatment of response_format was reported."""
_FORMATS = ("text", "json", "json_schema", "json_object", "regex", "ebnf", "structural_tag")
_NEEDS = {"json": "schema", "json_schema": "json_schema", "regex": "regex", "ebnf": "ebnf"}
_FORMAT_FIELDS = {"type", "schema", "json_schema", "regex", "ebnf", "format"}
_FUNCTION_FIELDS = {"name", "description", "parameters"}


def misfits(document: Json) -> list[Json]:
    """The schema's errors inside response_format, tools and tool_choice."""
    errors = []
    wanted = document.get("response_format")
    if isinstance(wanted, dict):
        place = ("body", "response_format")
        errors += _extra(place, wanted, _FORMAT_FIELDS)
        if "type" not in wanted:
            errors.append(_missing((*place, "type"), wanted))
        elif wanted["type"] not in _FORMATS:
            errors.append(_literal((*place, "type"), _FORMATS, wanted["type"]))
    tools = document.get("tools")
    for number, tool in enumerate(tools if isinstance(tools, list) else []):
        errors += _tool(("body", "tools", number), tool)
    return errors + _choice(document.get("tool_choice"))


def check_format(model: Model, wanted: Json | None) -> None:
    """Let a wish for a format pass where the real engine drops it.

    Raises:
        Refused: incomplete; or the real engine would constrain the answer, or its way is not known.
    """
    kind = "text" if wanted is None else wanted["type"]
    if wanted is None or kind == "text":
        return
    needed = _NEEDS.get(kind)
    if needed is not None and wanted.get(needed) is None:
        raise Refused(
            f"response_format.{needed} is required for response_format.type == {kind!r}, but got None."
        )
    if model.args.get("guided_decoding_backend"):
        raise Refused("not simulated: answers that a guided decoder constrains")
    if at_least(UNREPORTED_FORMATS):
        raise Refused("not simulated: what this release does with response_format without a guided decoder")


def named_function(model: Model, fields: Json) -> str | None:
    """The function whose arguments the whole text becomes, if tool_choice names one.

    Raises:
        Refused: the release needs what is not configured, or its way is not known.
    """
    choice = fields.get("tool_choice")
    if choice == "required":
        raise Refused("not simulated: tool_choice `required`")
    if not isinstance(choice, dict):
        return None
    name = str(choice["function"]["name"])
    if model.harmony:
        raise Refused("not simulated: a named tool_choice for gpt-oss", "internal_error")
    if at_least(GUIDED_TOOLS):
        raise Refused(f"not simulated: tool_choice {name!r}, which takes guided decoding and a tool parser")
    return name


def _tool(place: tuple[str | int, ...], tool: object) -> list[Json]:
    if not isinstance(tool, dict):
        return [_no_object(place, tool)]
    errors = _extra(place, tool, {"type", "function"})
    if tool.get("type", "function") != "function":
        errors.append(_literal((*place, "type"), ("function",), tool["type"]))
    function = tool.get("function")
    if function is None:
        return [*errors, _missing((*place, "function"), tool)]
    if not isinstance(function, dict):
        return [*errors, _no_object((*place, "function"), function)]
    if not isinstance(function.get("name"), str):
        errors.append(_missing((*place, "function", "name"), function))
    return errors + _extra((*place, "function"), function, _FUNCTION_FIELDS)


def _choice(choice: object) -> list[Json]:
    place = ("body", "tool_choice")
    if choice is None or choice in ("none", "auto") or (choice == "required" and at_least(GUIDED_TOOLS)):
        return []
    literal = _literal((*place, "literal['none','auto']"), ("none", "auto"), choice)
    named = (*place, "ChatCompletionNamedToolChoiceParam")
    if not isinstance(choice, dict):
        return [literal, _no_object(named, choice)]
    function = choice.get("function")
    errors = _extra(named, choice, {"type", "function"})
    if not isinstance(function, dict):
        errors.append(_missing((*named, "function"), choice))
    elif not isinstance(function.get("name"), str):
        errors.append(_missing((*named, "function", "name"), function))
    return [literal, *errors] if errors else []


def _extra(place: tuple[str | int, ...], value: Json, known: set[str]) -> list[Json]:
    text = "Extra inputs are not permitted"
    return [
        {"type": "extra_forbidden", "loc": (*place, name), "msg": text, "input": value[name]}
        for name in value
        if name not in known
    ]


def _missing(place: tuple[str | int, ...], value: object) -> Json:
    return {"type": "missing", "loc": place, "msg": "Field required", "input": value}


def _no_object(place: tuple[str | int, ...], value: object) -> Json:
    text = "Input should be a valid dictionary or object to extract fields from"
    return {"type": "model_attributes_type", "loc": place, "msg": text, "input": value}


def _literal(place: tuple[str | int, ...], known: tuple[str, ...], value: object) -> Json:
    names = [f"'{name}'" for name in known]
    expected = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    return {"type": "literal_error", "loc": place, "msg": f"Input should be {expected}", "input": value,
            "ctx": {"expected": expected}}  # fmt: skip
