"""``manifest.json``: with which settings, up to which moment and from what the published tables were made."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from attribution.windows import EPOCH, format_duration
from streams import __version__
from streams.settings import Settings

NAME = "manifest.json"


def manifest(settings: Settings, *, engine: str, commit_id: int, watermark_us: int | None) -> dict[str, Any]:
    """What every engine writes; an engine may add keys of its own."""
    return {
        "engine": engine,
        "code_version": __version__,
        "commit_id": commit_id,
        "watermark": None if watermark_us is None else _microseconds(watermark_us),
        "base_currency": settings.base_currency,
        "allowed_lateness": format_duration(settings.time.allowed_lateness_us),
        "reversal_window": format_duration(settings.time.reversal_window_us),
        "fx_max_age": format_duration(settings.fx_max_age_us),
    }


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Replace the manifest whole: a reader sees the old one or the new one."""
    aside = folder / f"_{NAME}"
    aside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    aside.replace(folder / NAME)


def _microseconds(time_us: int) -> str:
    moment = (EPOCH + timedelta(microseconds=time_us)).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='microseconds')}Z"
