"""The join state: every family of facts, the profiles they refer to, and how far numbering has come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

from attribution.match import hashed
from streams.live.families import FAMILIES, FOREVER_US, INFERENCE_PROFILES, OUTCOME_PROFILES, OUTCOMES, Family
from streams.live.family_state import ASKED, FamilyState
from streams.live.memory import MemoryLimit
from streams.live.profiles import INFERENCE_PROFILE, OUTCOME_PROFILE, Numbers, Profiles
from streams.live.segments import SegmentFile

#: Rows of facts to be added, by family.
Facts = dict[str, pl.DataFrame]


class State:
    """What is known from earlier commits. It changes only by ``add`` and ``forget``, at a commit.

    watermark_us: of the newest commit; what it has passed is forgotten, whether or not its rows still lie there.
    """

    def __init__(
        self,
        folder: Path,
        files: Mapping[str, Iterable[SegmentFile]],
        *,
        watermark_us: int | None = None,
        next_number: int = 0,
        to_be_asked: bool = True,
        memory: MemoryLimit | None = None,
    ) -> None:
        """to_be_asked: see ``FamilyState``; memory: above which look-ups give mapped pages back.

        Raises UnavailableError for a segment that is missing or damaged.
        """
        self.watermark_us = watermark_us
        self._memory = memory
        self.next_number = next_number
        self.families = {
            name: FamilyState(folder, family, files.get(name, ()), to_be_asked=to_be_asked)
            for name, family in FAMILIES.items()
        }
        self.inference_profiles = Profiles(INFERENCE_PROFILE, self._profiles(INFERENCE_PROFILES))
        self.outcome_profiles = Profiles(OUTCOME_PROFILE, self._profiles(OUTCOME_PROFILES))

    def _profiles(self, family: Family) -> pl.DataFrame:
        return self.expiring(family, None, list(family.columns)).sort("number")

    def find(self, family: Family, key: str, hashes: pl.Series, columns: list[str]) -> pl.DataFrame:
        """Rows not forgotten that have one of the hashes, with ``asked``: its position."""
        return self.families[family.name].find(
            key, hashes.to_numpy(), columns, visible_from_us=self.watermark_us, after_look=self.relieve
        )

    def relieve(self) -> None:
        """Give mapped pages back where the process takes too much: they stay in the page cache while there is room."""
        if self._memory is not None and self._memory.is_passed():
            for family in self.families.values():
                family.forget_pages()

    def find_texts(self, family: Family, key: str, column: str, texts: pl.Series, columns: list[str]) -> pl.DataFrame:
        """Rows not forgotten whose ``column`` is one of the texts (not its hash alone), with ``asked``."""
        rows = self.find(family, key, hashed(texts), list(dict.fromkeys([column, *columns])))
        return rows.filter(rows[column] == texts.gather(rows[ASKED])).select(ASKED, *columns)

    def expiring(self, family: Family, to_us: int | None, columns: list[str]) -> pl.DataFrame:
        """Rows not forgotten that a watermark of ``to_us`` passes; None: all of them."""
        limit = FOREVER_US + 1 if to_us is None else to_us
        return self.families[family.name].expiring(self.watermark_us, limit, columns)

    def outcome_rows(self, hashes: pl.Series, numbers: pl.Series) -> pl.DataFrame:
        """The kept outcomes with these numbers, each once, in order of number; hashes: of their ids."""
        wanted = pl.DataFrame({"hash": hashes, "number": numbers}).unique()
        columns = [name for name in OUTCOMES.columns if name not in ("id_hash", "digest")]
        rows = self.find(OUTCOMES, "id_hash", wanted["hash"], [*columns, "id_hash"])
        return rows.join(wanted, on="number", how="semi").unique("number").sort("number").drop(ASKED)

    def outcomes_with(self, profiles: Numbers) -> pl.DataFrame:
        """Id hash, number, time and profile of the kept outcomes with these profiles: a scan of all of them."""
        columns = ["id_hash", "number", "event_time_us", "profile"]
        return self.families[OUTCOMES.name].where("profile", profiles, columns, visible_from_us=self.watermark_us)

    def numbered(self, count: int) -> pl.Series:
        """Numbers for so many newly accepted events, in order."""
        first = self.next_number
        self.next_number += count
        return pl.int_range(first, first + count, dtype=pl.Int64, eager=True)
