"""The three ways a command can end other than well, each with its exit code.

Bad *data* is never an exception: it is a dead letter with a reason (``schemas.reasons``).
"""

from __future__ import annotations


class AttributionError(Exception):
    """A message for the user; the command line prints it without a stack trace."""

    exit_code = 1


class ConfigurationError(AttributionError):
    """Wrong usage or configuration: one message with place, expected, got and a hint."""

    exit_code = 2


class UnavailableError(AttributionError):
    """Input or storage that cannot be had: a missing folder, an unreadable file, a full disk."""

    exit_code = 3


def setting_error(place: str, *, expected: str, got: object, hint: str = "") -> ConfigurationError:
    """The one shape of a configuration message.

    >>> str(setting_error("rules/a.toml: rule 2: lookback_window",
    ...     expected='a duration such as "7d"', got="7 days", hint='write "7d"'))
    'rules/a.toml: rule 2: lookback_window: expected a duration such as "7d", got "7 days". Hint: write "7d"'
    """
    shown = f'"{got}"' if isinstance(got, str) else str(got)
    message = f"{place}: expected {expected}, got {shown}"
    return ConfigurationError(f"{message}. Hint: {hint}" if hint else message)
