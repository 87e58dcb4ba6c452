"""Fault tests run over the same stack as the end-to-end ones."""

from tests.spine.conftest import stack

__all__ = ["stack"]
