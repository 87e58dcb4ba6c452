"""Every error the product can answer, by its stable code.

An error carries a code and details, never an HTTP status: ``web/errors.py`` maps codes to statuses and
``gateway/protocol`` maps refusal reasons to reply bytes. Messages are English templates that double as gettext ids.
"""

from __future__ import annotations

from typing import Any, Final

MESSAGES: Final[dict[str, str]] = {
    "invalid_input": "Some fields are not valid.",
    "not_authenticated": "Sign in to continue.",
    "bad_login": "E-mail or password is wrong.",
    "totp_required": "Enter the code of your authenticator app.",
    "bad_totp": "This code is not right, or it was used before. Wait for the next one.",
    "challenge_expired": "The sign-in took too long. Begin again with e-mail and password.",
    "totp_setup_required": "Your role needs two-step sign-in. Set it up to go on.",
    "totp_on": "Two-step sign-in is on already.",
    "totp_off": "Two-step sign-in is not set up here. Begin again.",
    "own_account": "Nobody does this to their own account. Ask a colleague.",
    "sign_in_needed": "This needs a sign-in: an API key may not do it.",
    "too_many_attempts": "Too many attempts. Try again in {retry_after_s} seconds.",
    "forbidden": "This area is for administrators.",
    "scope_missing": "This API key may not do this: it lacks the scope {scope}.",
    "link_expired": "This link is no longer valid. Ask for a new one.",
    "csrf": "The form has expired. Reload the page and try again.",
    "account_suspended": "This account is suspended. Talk to the administrator.",
    "not_found": "Not found.",
    "method_not_allowed": "This method is not allowed here.",
    "email_taken": "There is already an account with this e-mail.",
    "slug_taken": "There is already a plan with this slug.",
    "name_taken": "There is already a provider with this name.",
    "alias_taken": "You already have a chip called {alias}.",
    "chip_limit": "Your plan allows {max_chips} chips and you have {chips}.",
    "quota_exhausted": "The proxy quota of this month is used up: {used_bytes} of {limit_bytes} bytes.",
    "no_healthy_proxy": "No healthy proxy has room right now. Try again in a few minutes.",
    "rotation_limit": "This chip has already changed its proxy {limit} times today.",
    "bridge_unavailable": "The WhatsApp bridge did not answer. Nothing was created; try again.",
    "bridge_refused": "The WhatsApp bridge refused: {reason}.",
    "bridge_unknown": "This bridge gave no sign of life lately.",
    "chip_held": "Another bridge runs this chip.",
    "hold_lost": "This bridge does not run the chip any more.",
    "engine_external": "This chip runs on an external engine, so it has no session here.",
    "engine_bridge": "This chip runs on our bridge, so its gateway credential is not shown.",
    "calibration_runs": "A calibration of this provider is under way.",
    "calibration_refused": "This calibration found nothing that could be taken over.",
    "not_paused": "This chip is not paused.",
    "no_qr": "There is no QR code to show now.",
    "chip_blocked": "This chip is blocked: {reason}.",
    "provider_in_use": "This provider is in use by {count} chips. Move them first, or delete with force.",
    "proxy_in_use": "This proxy is in use by {count} chips. Move them first, or delete with force.",
    "plan_in_use": "This plan is in use by {count} customers.",
    "plan_is_default": "The default plan cannot be deleted.",
    "user_in_use": "This customer still has {count} chips. Delete them first.",
    "last_admin": "The last administrator cannot be removed.",
    "unknown_placeholder": "The template uses an unknown placeholder: {placeholder}.",
    "private_upstream": "The address {host} is private. Only public hosts are accepted here.",
    "proxy_full": "This proxy has no room for another chip.",
    "report_limit": "You have asked for {limit} reports that are not ready yet. Wait for one, or cancel one.",
    "ledger_differs": "The totals of {month} are not the sum of its ledger, so the ledger is kept.",
    "disk_full": "The folder {folder} has no room left.",
    "report_too_large": "This report is too large for one file.",
    "report_not_ready": "This report has no file: it is {state}.",
    "conflict": "Somebody else changed this at the same time. Reload and try again.",
    "unavailable": "The service is starting or short of a part it needs: {part}.",
    "overloaded": "Too many people ask at this moment. Try again in a few seconds.",
    "internal": "Something broke on our side. It was recorded.",
}


class WhagoError(Exception):
    """An operational error that a caller can act on.

    ``code`` is one of the keys of ``MESSAGES``; ``details`` fills the message and goes to API clients as it is,
    so it never carries a secret.
    """

    def __init__(self, code: str, **details: Any) -> None:
        self.code = code
        self.template = MESSAGES[code]
        self.details = details
        super().__init__(self.template.format_map(_Blank(details)))


class _Blank(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"


class InvalidInput(WhagoError):
    """Bad input, told field by field: ``fields`` maps a field's name to an English sentence about it."""

    def __init__(self, **fields: str) -> None:
        super().__init__("invalid_input", fields=fields)


class SettingsError(Exception):
    """A setting is unknown or has a bad value; the message is one sentence that names it."""
