"""What a migration must not do beside the version that still runs: found by reading its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

BIG: Final = {  # tables that grow with chips, traffic or time: nobody may be kept from them while they are read through
    *("proxy_usage_logs", "usage_hours", "usage_days", "usage_price_months", "chip_usage_months", "user_proxy_costs"),
    *("usage_checkpoints", "proxy_usage_months", "chips", "chip_proxy_assignments", "chip_events", "chip_holds"),
    *("chip_signal_keys", "chip_status_changes", "exit_ip_observations", "exit_ip_days", "notifications", "audit_log"),
    *("deliveries", "delivery_attempts", "customer_events", "clock_runs", "refresh_tokens", "quota_leases"),
}
GOES: Final = ("drop_column", "drop_table", "rename_table", "drop_constraint")
CHECKED: Final = ("create_foreign_key", "create_check_constraint", "create_unique_constraint", "create_primary_key")
# Statements in text. A constraint may be replaced or added when the rows are looked at apart (NOT VALID, VALIDATE).
TEXTS: Final = {
    r"\bALTER\s+COLUMN\s+\w+\s+(SET\s+DATA\s+)?TYPE\b": "the type of a column changes under the old version",
    r"\bSET\s+NOT\s+NULL\b": "a column that the old version leaves empty",
    r"\bDROP\s+(COLUMN|TABLE)\b": "what the old version still uses goes",
    r"\bRENAME\s+(COLUMN\s+|CONSTRAINT\s+)?(\w+\s+)?TO\b": "a name that the old version uses changes",
    r"\bADD\s+COLUMN\b(?![^;]*\bDEFAULT\b)[^;]*\bNOT\s+NULL\b": "a column that the old version leaves empty",
    r"\bADD\s+(CONSTRAINT\s+\w+\s+)?(CHECK|FOREIGN)\b(?![^;]*\bNOT\s+VALID\b)": "all rows are looked at under a lock",
    r"\bCREATE\s+(UNIQUE\s+)?INDEX\s+(?!CONCURRENTLY)": "an index without CONCURRENTLY",
    r"\b(LOCK\s+TABLE|VACUUM\s+FULL|CLUSTER)\b": "everybody is kept from the table",
}


def found_in(source: str) -> list[str]:
    """One line for each dangerous thing that ``upgrade``, and whatever it may call, does."""
    module = ast.parse(source)
    module.body = [node for node in module.body if not _is_downgrade(node)]
    new = {_name_of(call.args[0]) for call in _calls(module) if _verb(call) == "create_table" and call.args}
    found = [f"line {call.lineno}: {told}" for call in _calls(module) for told in _in_call(call, new)]
    return found + [f"line {line}: {told}" for line, words in _texts(module) for told in _in_text(words)]


def _is_downgrade(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "downgrade"


def _calls(module: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(module) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))


def _verb(call: ast.Call) -> str:
    """Of ``op``; anything else has none."""
    assert isinstance(call.func, ast.Attribute)
    return call.func.attr if isinstance(call.func.value, ast.Name) and call.func.value.id == "op" else ""


def _in_call(call: ast.Call, new: set[str]) -> Iterator[str]:
    verb, options = _verb(call), {word.arg: word.value for word in call.keywords}
    if verb in GOES:
        yield f"{verb}: what the old version still uses goes"
    if verb == "alter_column":
        yield from (f"alter_column {name}" for name in ("type_", "new_column_name") if name in options)
        if isinstance(options.get("nullable"), ast.Constant) and options["nullable"].value is False:  # type: ignore[attr-defined]
            yield "alter_column nullable=False: a column that the old version leaves empty"
    if verb == "add_column":
        yield from _in_column(call)
    table = _name_of(call.args[1]) if len(call.args) > 1 else ""
    if verb == "create_index" and table in BIG - new and "postgresql_concurrently" not in options:
        yield f"an index on {table}, which may be large: use whago.main.online"
    if verb in CHECKED and table not in new and "postgresql_not_valid" not in options:
        yield f"{verb}: all rows are looked at under a lock"


def _in_column(call: ast.Call) -> Iterator[str]:
    column = call.args[1] if len(call.args) > 1 else None
    if isinstance(column, ast.Call):
        options = {word.arg: word.value for word in column.keywords}
        forced = isinstance(options.get("nullable"), ast.Constant) and options["nullable"].value is False  # type: ignore[attr-defined]
        if forced and "server_default" not in options:
            yield "add_column NOT NULL without a server default: the old version leaves it empty"


def _texts(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Every text with its line. What is put into one stands there as x."""
    pieces: set[ast.AST] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr):
            pieces |= set(node.values)
            yield (
                node.lineno,
                "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in pieces:
            yield node.lineno, node.value


def _in_text(words: str) -> Iterator[str]:
    return (told for pattern, told in TEXTS.items() if re.search(pattern, words, re.IGNORECASE))


def _name_of(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else ""
