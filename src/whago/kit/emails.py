"""E-mail addresses: checked by their form, without asking the DNS, and kept in lower case."""

from __future__ import annotations

import email_validator

# The library's own way to accept .local, .test and other reserved names: installations without internet use them.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

MAX_CHARS = 254  # RFC 5321 section 4.5.3.1.3, less the angle brackets


def normal_email(address: str) -> str:
    """The address in the one form that is stored. Raises ValueError when it is none."""
    if len(address) > MAX_CHARS:
        raise ValueError("too long")
    found = email_validator.validate_email(
        address.strip(), check_deliverability=False, globally_deliverable=False, allow_quoted_local=False
    )
    return found.normalized.lower()
