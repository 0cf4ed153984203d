"""The fields of a request. Unknown ones are refused, as the real schemas forbid extra fields."""

import json
from typing import Any

from .constraints import misfits
from .errors import Invalid

_SHARED = {
    "model": "str", "frequency_penalty": "float", "logit_bias": "dict", "n": "int",
    "presence_penalty": "float", "seed": "int", "stop": "stop", "stream": "bool",
    "stream_options": "dict", "temperature": "float", "top_p": "float", "user": "str",
    "max_tokens": "int", "best_of": "int", "echo": "bool", "response_format": "dict",
    "prompt_ignore_length": "int", "lora_request": "dict", "disaggregated_params": "dict",
    "use_beam_search": "bool", "top_k": "int", "top_p_min": "float", "min_p": "float",
    "repetition_penalty": "float", "length_penalty": "float", "early_stopping": "bool",
    "stop_token_ids": "list", "include_stop_str_in_output": "bool", "ignore_eos": "bool",
    "min_tokens": "int", "skip_special_tokens": "bool", "add_special_tokens": "bool",
    "spaces_between_special_tokens": "bool", "truncate_prompt_tokens": "int",
}  # fmt: skip
CHAT = {
    **_SHARED, "messages": "list", "prompt_token_ids": "list", "max_completion_tokens": "int",
    "logprobs": "bool", "top_logprobs": "int", "tools": "list", "tool_choice": "any",
    "reasoning_effort": "str", "add_generation_prompt": "bool", "documents": "list",
    "chat_template": "str", "chat_template_kwargs": "dict", "cache_salt": "str",
}  # fmt: skip
COMPLETION = {
    **_SHARED, "prompt": "any", "logprobs": "int", "suffix": "str", "detokenize": "bool",
    "return_context_logits": "bool",
}  # fmt: skip
RESPONSES = {
    "model": "str", "input": "any", "max_output_tokens": "int", "stream": "bool",
    "temperature": "float", "top_p": "float", "instructions": "str", "store": "bool",
    "previous_response_id": "str", "reasoning": "dict", "tools": "list", "tool_choice": "any",
    "metadata": "dict", "user": "str", "text": "dict", "truncation": "str", "include": "list",
    "background": "bool", "parallel_tool_calls": "bool", "max_tool_calls": "int",
    "service_tier": "str", "prompt": "any", "top_logprobs": "int", "request_id": "str",
    "mm_processor_kwargs": "dict", "priority": "int", "cache_salt": "str",
}  # fmt: skip
_PYTHON: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (int, float), "bool": (bool,), "list": (list,),
    "dict": (dict,), "stop": (str, list), "any": (object,),
}  # fmt: skip
_LONG = {"str": "string", "int": "integer", "float": "number", "bool": "boolean",
         "dict": "dictionary", "stop": "string"}  # fmt: skip


def parse(raw: bytes, fields: dict[str, str], required: tuple[str, ...]) -> dict[str, Any]:
    """The request's fields; those that are null count as not given.

    Raises:
        Invalid: not JSON, a field is missing, unknown or of the wrong type.
    """
    try:
        document = json.loads(raw)
    except ValueError as error:
        position = getattr(error, "pos", 0)
        raise Invalid(
            [{"type": "json_invalid", "loc": ("body", position), "msg": "JSON decode error",
              "input": {}, "ctx": {"error": getattr(error, "msg", "Expecting value")}}]
        ) from error  # fmt: skip
    if not isinstance(document, dict):
        text = "Input should be a valid dictionary or object to extract fields from"
        raise Invalid([{"type": "model_attributes_type", "loc": ("body",), "msg": text, "input": document}])
    errors = [
        {"type": "missing", "loc": ("body", name), "msg": "Field required", "input": document}
        for name in required
        if document.get(name) is None
    ]
    for name, value in document.items():
        kind = fields.get(name)
        if kind is None:
            text = "Extra inputs are not permitted"
            errors.append({"type": "extra_forbidden", "loc": ("body", name), "msg": text, "input": value})
        elif value is not None and not _fits(kind, value):
            text = f"Input should be a valid {_LONG.get(kind, kind)}"
            errors.append(
                {"type": f"{_LONG.get(kind, kind)}_type", "loc": ("body", name), "msg": text,
                 "input": value}
            )  # fmt: skip
    if fields is not RESPONSES:
        errors += misfits(document)
    given = {name: value for name, value in document.items() if value is not None}
    if (refusal := _contradiction(given, fields)) is not None:
        entry = {"type": "value_error", "loc": ("body",), "msg": f"Value error, {refusal}", "input": document}
        raise Invalid([{**entry, "ctx": {"error": ValueError(refusal)}}])
    if errors:
        raise Invalid(errors)
    return given


def _contradiction(given: dict[str, Any], fields: dict[str, str]) -> str | None:
    """What the real schemas' own validators refuse, before all else."""
    if "stream_options" in given and not given.get("stream"):
        if fields is CHAT:
            return "stream_options can only be set if stream is true"
        return "Stream options can only be defined when stream is true."
    if fields is RESPONSES and "prompt" in given:
        return "prompt template is not supported"
    if fields is RESPONSES and given.get("background") and not given.get("store", True):
        return "background can only be used when `store` is true"
    if given.get("suffix"):
        return "suffix is not supported"
    return _contradiction_of_chat(given) if fields is CHAT else None


def _contradiction_of_chat(given: dict[str, Any]) -> str | None:
    if given.get("tool_choice", "none") != "none" and not given.get("tools"):
        return "When using `tool_choice`, `tools` must be set."
    top = given.get("top_logprobs")
    if isinstance(top, int) and top < 0:
        return "top_logprobs must be positive or zero"
    if top is not None and not given.get("logprobs"):
        return "logprobs must be true when using top_logprobs"
    return None


def _fits(kind: str, value: object) -> bool:
    if kind in ("int", "float") and isinstance(value, bool):
        return False
    return isinstance(value, _PYTHON[kind])
