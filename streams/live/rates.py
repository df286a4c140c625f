"""Exchange rates while the engine runs: a file that may change, taken up between commits."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from attribution.engine import CompiledPolicy
from schemas.errors import ConfigurationError
from streams.fx_file import parse_fx
from streams.published import load_rates
from streams.rule_files import read_text


class Rates:
    """The rates file of a pipeline and the policy with its newest content.

    text: as read, None without a file; policy: what to attribute under.
    """

    def __init__(self, path: Path | None, compiled: CompiledPolicy) -> None:
        """Raises ConfigurationError where the file is missing or wrong."""
        self._path = path
        self._stamp = self._stamped()
        self.text = None if path is None else read_text(path)
        self.policy = policy_with(compiled, self.text, str(path))

    def refresh(self) -> str | None:
        """Take up a changed file; returns the message about one that is wrong, and then keeps what it had."""
        stamp = self._stamped()
        if self._path is None or stamp == self._stamp:
            return None
        try:
            text = read_text(self._path)
            if text != self.text:
                self.policy = policy_with(self.policy, text, str(self._path))
                self.text = text
        except ConfigurationError as error:
            return str(error)
        finally:
            self._stamp = stamp
        return None

    def _stamped(self) -> tuple[int, int, int] | None:
        if self._path is None:
            return None
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns


def policy_with(compiled: CompiledPolicy, text: str | None, file: str) -> CompiledPolicy:
    """A policy under the rates of a file's text; raises ConfigurationError."""
    base_currency = compiled.policy.base_currency
    fx = load_rates(None, base_currency) if text is None else parse_fx(text, file, base_currency)
    return replace(compiled, policy=replace(compiled.policy, fx=fx))


def rates_name(text: str | None) -> str | None:
    """The name under which the state keeps rates."""
    return None if text is None else f"rates-{hashlib.sha256(text.encode()).hexdigest()[:16]}.csv"
