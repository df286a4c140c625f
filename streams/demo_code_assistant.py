"""The demo's code assistant: real arrivals and token counts, everything else made up from a seed.

The 57 minutes of the Azure code trace are stretched by 170 over a week of 2026: 100 ns there are 17 µs here,
so order and relative gaps stay exact. Who asked, which model answered, what was bought, broken or saved is
generated: no public data links inferences to money.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from random import Random

from streams.demo_log import HOUR_US, SECOND_US, Event, Log, between, chance, read_data

#: Monday 2026-03-23 00:00 UTC: the first arrival of the stretched trace.
START_US = 1_774_224_000 * SECOND_US
_US_PER_TICK = 17
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_SECONDS = 86_400
_INDIA = timezone(timedelta(minutes=330))


@dataclass(frozen=True, slots=True)
class _Model:
    """A model of the code assistant: how often it is used, how often it earns, and how much."""

    name: str
    version: str
    provider: str
    endpoint: str
    weight: int
    outcome_share: float
    seconds: int


_NEW_SONNET_US = START_US + 72 * HOUR_US
_SONNET = _Model("claude-sonnet", "claude-sonnet-4-5-20250929", "anthropic", "gateway-eu", 22, 0.24, 22)
_NEW_SONNET = _Model("claude-sonnet", "claude-sonnet-4-6", "anthropic", "gateway-eu", 22, 0.26, 36)
_MODELS = (
    _Model("gpt-5-mini", "gpt-5-mini-2025-08-07", "openai", "azure-west", 26, 0.20, 10),
    _Model("gemini-2.5-flash", "gemini-2.5-flash", "google", "vertex-eu", 12, 0.10, 2),
    _Model("claude-haiku", "claude-haiku-4-5-20251001", "anthropic", "gateway-eu", 18, 0.20, 10),
    _SONNET,
    _Model("claude-opus", "claude-opus-4-5-20251101", "anthropic", "gateway-eu", 12, 0.22, 11),
    _Model("gpt-5-pro", "gpt-5-pro-2025-10-06", "openai", "azure-west", 5, 0.26, 9),
    # Run in-house: no price list knows it.
    _Model("inhouse-coder-7b", "2026-02", "self-hosted", "gpu-pool-1", 5, 0.14, 9),
)

_DEVELOPERS = 60
_ROLES = ("developer", "developer", "developer", "data_scientist", "contractor", "tech_lead")
#: CHF is missing from the demo's exchange rates on purpose.
_CURRENCIES = ("USD", "USD", "USD", "EUR", "EUR", "EUR", "GBP", "GBP", "CHF")
_PACKS = ("5.00", "9.00", "12.50", "19.90", "29.00")


@dataclass(frozen=True, slots=True)
class _Call:
    """What an outcome of the code assistant needs to know of the inference that led to it."""

    inference_id: str
    at_us: int
    trace_id: str
    model: _Model
    developer: int
    is_served: bool

    @property
    def is_holdout(self) -> bool:
        return self.developer % 12 == 5


def add_code_assistant(log: Log) -> None:
    """Add a week of inferences by sixty developers, and what came of them."""
    recent: dict[int, list[_Call]] = {}
    for number, (at_us, input_tokens, output_tokens) in enumerate(_azure_arrivals()):
        developer = between(log.rng, 0, _DEVELOPERS - 1)
        earlier = recent.setdefault(developer, [])
        call = _next_call(log.rng, number, at_us, developer, earlier)
        log.add("inferences", at_us, _inference(log.rng, call, input_tokens, output_tokens))
        earlier.append(call)
        _add_outcomes(log, call, earlier[-6:])


def _azure_arrivals() -> Iterator[tuple[int, int, int]]:
    """Arrival (µs since 1970), input tokens and output tokens of each row of the trace, stretched to a week."""
    first: int | None = None
    for row in read_data("azure_llm_2023_code.csv.gz"):
        hours, minutes, seconds = row["TIMESTAMP"].split(" ")[1].split(":")
        ticks = (int(hours) * 60 + int(minutes)) * 60 * 10**7 + int(seconds.replace(".", ""))
        first = ticks if first is None else first
        yield START_US + (ticks - first) * _US_PER_TICK, int(row["ContextTokens"]), int(row["GeneratedTokens"])


def _next_call(rng: Random, number: int, at_us: int, developer: int, earlier: list[_Call]) -> _Call:
    """A developer goes on with the task at hand, with its model, or begins another."""
    inference_id = f"code-{number:05d}"
    is_served = not chance(rng, 0.02)
    last = earlier[-1] if earlier else None
    if last and chance(rng, 0.65) and at_us - last.at_us < 8 * HOUR_US:
        return _Call(inference_id, at_us, last.trace_id, last.model, developer, is_served)
    model = _weighted_model(rng)
    if model is _SONNET and at_us >= _NEW_SONNET_US:
        model = _NEW_SONNET
    return _Call(inference_id, at_us, f"task-{number:05d}", model, developer, is_served)


def _inference(rng: Random, call: _Call, input_tokens: int, output_tokens: int) -> Event:
    event: Event = {
        "inference_id": call.inference_id,
        "event_time": _local(call.at_us, call.developer),
        "use_case": "code_assistant",
        "model": call.model.name,
        "model_version": call.model.version,
        "provider": call.model.provider,
        "endpoint": call.model.endpoint,
        "arm": "holdout" if call.is_holdout else "treatment",
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "latency_ms": 150 + output_tokens * 12 + between(rng, 0, 400),
        "session_id": f"developer-{call.developer:02d}/{_local(call.at_us)[:10]}",
        "trace_id": call.trace_id,
        "attributes": {"language": "python" if call.developer % 3 else "typescript"},
    }
    if not call.is_served:
        event["status"] = "failed"
    elif chance(rng, 0.02):
        event["cache_hit"] = True
    elif input_tokens > 2_048 and chance(rng, 0.3):
        event["cached_input_tokens"] = input_tokens // 256 * 128
    elif call.model.endpoint == "gateway-eu" and chance(rng, 0.05):
        # The gateway knows what it paid: 2.40 per million input tokens, 12.00 per million output tokens.
        tenths_of_millionths = input_tokens * 24 + output_tokens * 120
        event["cost"] = f"{tenths_of_millionths // 10**7}.{tenths_of_millionths % 10**7:07d}"
        event["cost_currency"] = "EUR"
    return event


def _add_outcomes(log: Log, call: _Call, recent: list[_Call]) -> None:
    rng = log.rng
    served = 1.0 if call.is_served else 0.2
    if chance(rng, call.model.outcome_share * served):
        _add_time_saved(log, call, recent)
    if chance(rng, 0.045 * served):
        _add_lines_accepted(log, call, recent)
    if chance(rng, 0.010 * served):
        _add_pack_bought(log, call, recent)
    if chance(rng, 0.005 * served):
        at_us = call.at_us + between(rng, 3_600, 6 * _DAY_SECONDS) * SECOND_US
        log.add("conversions", at_us, _outcome("defect", call, at_us, "defect_found") | _names(rng, recent))


def _add_time_saved(log: Log, call: _Call, recent: list[_Call]) -> None:
    """Mostly seconds per completion; a tenth of them lost, not saved; some long after, out of the window."""
    rng = log.rng
    at_us = call.at_us + _time_saved_delay_us(rng)
    mean = max(1, call.model.seconds // 4) if call.is_holdout else call.model.seconds
    saved = int(mean * (rng.random() + rng.random()))
    measured = rng.random()
    if measured < 0.76:
        event = _outcome("saved", call, at_us, "code_completion")
        event["seconds"] = -saved if chance(rng, 0.12) else saved
    elif measured < 0.88:
        event = _outcome("saved", call, at_us, "bug_fix")
        baseline = between(rng, 120, 2_400)
        event["baseline_seconds"] = baseline
        event["actual_seconds"] = max(0, baseline - saved * between(rng, -1, 6))
    else:
        event = _outcome("saved", call, at_us, "unit_test")
        event["actual_seconds"] = max(0, 180 - saved * between(rng, -1, 4))
    event["role"] = _ROLES[call.developer % len(_ROLES)]
    log.add("time_saved", at_us, event | _names(rng, recent))
    if chance(rng, 0.02):
        _add_reversal(log, event, at_us, "suggestion reverted", {"seconds": 5} if chance(rng, 0.5) else {})


def _time_saved_delay_us(rng: Random) -> int:
    kind = rng.random()
    if kind < 0.015:
        return between(rng, 9 * _DAY_SECONDS, 11 * _DAY_SECONDS) * SECOND_US
    if kind < 0.05:
        return between(rng, 2 * _DAY_SECONDS, 5 * _DAY_SECONDS) * SECOND_US
    return between(rng, 5, 900) * SECOND_US


def _add_lines_accepted(log: Log, call: _Call, recent: list[_Call]) -> None:
    at_us = call.at_us + between(log.rng, 5, 7_200) * SECOND_US
    event = _outcome("lines", call, at_us, "lines_accepted")
    event["quantity"] = between(log.rng, 1, 24)
    log.add("conversions", at_us, event | _names(log.rng, recent))
    if chance(log.rng, 0.05):
        _add_reversal(log, event, at_us, "lines removed in review", {"quantity": 1})


def _add_pack_bought(log: Log, call: _Call, recent: list[_Call]) -> None:
    """A purchase in its own currency; one in five is refunded, in part or whole, or in the wrong currency."""
    rng = log.rng
    at_us = call.at_us + between(rng, 3_600, 8 * _DAY_SECONDS) * SECOND_US
    event = _outcome("pack", call, at_us, "pack_bought")
    amount = _PACKS[between(rng, 0, len(_PACKS) - 1)]
    currency = _CURRENCIES[between(rng, 0, len(_CURRENCIES) - 1)]
    event["amount"] = float(amount) if chance(rng, 0.3) else amount
    event["currency"] = currency
    log.add("conversions", at_us, event | _names(rng, recent))
    if not chance(rng, 0.2):
        return
    refunds: tuple[Event, ...] = (
        {},
        {"amount": "4.50"},
        {"amount": "2.25", "currency": currency},
        {"amount": "4.50", "currency": "JPY"},
    )
    _add_reversal(log, event, at_us, "refund", refunds[between(rng, 0, len(refunds) - 1)])


def _add_reversal(log: Log, outcome: Event, outcome_us: int, reason: str, taken: Event) -> None:
    """Take back what ``taken`` names, or all that is left; one in twelve names an outcome nobody knows."""
    at_us = outcome_us + between(log.rng, 3_600, 5 * _DAY_SECONDS) * SECOND_US
    reverses = outcome["event_id"] if not chance(log.rng, 0.08) else f"lost-{outcome['event_id']}"
    event: Event = {"event_id": f"reversal-{outcome['event_id']}", "event_time": _local(at_us), "reverses": reverses}
    log.add("reversals", at_us, event | taken | {"reason": reason})


def _outcome(prefix: str, call: _Call, at_us: int, outcome_type: str) -> Event:
    event_id = f"{prefix}-{call.inference_id.removeprefix('code-')}"
    return {"event_id": event_id, "event_time": _local(at_us, call.developer), "type": outcome_type}


def _names(rng: Random, recent: list[_Call]) -> Event:
    """How an outcome names what led to it: the last inference, the last few, the task, an unknown one or none."""
    last = recent[-1]
    way = rng.random()
    if way < 0.70:
        return {"inference_id": last.inference_id}
    if way < 0.85 and len(recent) > 1:
        return {"inference_ids": [c.inference_id for c in recent[-between(rng, 2, len(recent)) :]]}
    if way < 0.97:
        return {"trace_id": last.trace_id}
    return {"inference_id": f"lost-{last.inference_id}"} if way < 0.98 else {}


def _weighted_model(rng: Random) -> _Model:
    left = between(rng, 1, sum(model.weight for model in _MODELS))
    for model in _MODELS:
        left -= model.weight
        if left <= 0:
            return model
    raise AssertionError(f"weights are not positive: {left} left")


def _local(at_us: int, developer: int = 0) -> str:
    """RFC 3339 with an offset; every fourth developer works in India."""
    if developer % 4 == 3:
        return (_EPOCH + timedelta(microseconds=at_us)).astimezone(_INDIA).isoformat()
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat().replace("+00:00", "Z")
