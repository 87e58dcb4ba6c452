"""What is wrong with a field and what would be right, one sentence for each kind of mistake that Pydantic finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from whago.web.i18n import Translator

SENTENCES: Final[Mapping[str, str]] = {
    "missing": "This field is required.",
    "extra_forbidden": "There is no field with this name here.",
    "json_invalid": "The body is not valid JSON.",
    "json_type": "The body is not valid JSON.",
    "model_attributes_type": "An object is expected here; send JSON with its content type.",
    "model_type": "An object is expected here.",
    "dict_type": "An object is expected here.",
    "list_type": "A list is expected here.",
    "string_type": "Text is expected here.",
    "string_unicode": "This text holds characters that are not valid Unicode.",
    "string_too_short": "At least {min_length} characters are needed.",
    "string_too_long": "At most {max_length} characters fit here.",
    "string_pattern_mismatch": "This text does not have the form that is needed: {pattern}",
    "too_short": "At least {min_length} are needed.",
    "too_long": "At most {max_length} are allowed.",
    "int_type": "A whole number is expected here.",
    "int_parsing": "A whole number is expected here.",
    "int_parsing_size": "This number is too large.",
    "int_from_float": "A whole number is expected here.",
    "bool_type": "true or false is expected here.",
    "bool_parsing": "true or false is expected here.",
    "decimal_type": "A number is expected here.",
    "decimal_parsing": "A number is expected here.",
    "decimal_max_digits": "At most {max_digits} digits fit here.",
    "decimal_max_places": "At most {decimal_places} decimal places fit here.",
    "decimal_whole_digits": "At most {whole_digits} digits fit before the decimal point.",
    "finite_number": "A finite number is expected here.",
    "greater_than_equal": "The least value is {ge}.",
    "greater_than": "The value must be above {gt}.",
    "less_than_equal": "The greatest value is {le}.",
    "less_than": "The value must be below {lt}.",
    "literal_error": "One of these is expected: {expected}.",
    "enum": "One of these is expected: {expected}.",
    "uuid_type": "An identifier (UUID) is expected here.",
    "uuid_parsing": "An identifier (UUID) is expected here.",
    "datetime_type": "A time such as 2026-11-15T12:00:00Z is expected here.",
    "datetime_parsing": "A time such as 2026-11-15T12:00:00Z is expected here.",
    "datetime_from_date_parsing": "A time such as 2026-11-15T12:00:00Z is expected here.",
    "datetime_object_invalid": "A time such as 2026-11-15T12:00:00Z is expected here.",
    "timezone_aware": "The time needs its zone, for example a Z at its end.",
}
FALLBACK: Final = "This value is not valid here."


def sentence_for(mistake: Mapping[str, Any], translate: Translator) -> str:
    """``mistake`` is one entry of a ValidationError; what was sent is never repeated."""
    kind, context = str(mistake["type"]), dict(mistake.get("ctx") or {})
    if kind == "value_error":  # one of our own checks: its message is a sentence of ours
        return translate(str(context["error"]))
    if kind == "string_too_short" and context["min_length"] == 1:
        kind = "missing"  # empty text, as forms send it
    if "expected" in context:  # "'a', 'b' or 'c'": the or is English
        context["expected"] = str(context["expected"]).replace(" or ", ", ")
    return translate(SENTENCES.get(kind, FALLBACK), **context)
