"""The demo's events: two real traces, and outcomes made up from a seed where no public data exists.

Real: the arrivals and token counts of the Azure code trace (use case ``code_assistant``), and the inferences,
episodes and feedback of TensorZero's fixtures (one use case per function) with all their faults: feedback
on targets that are not there, feedback dated before its inference, feedback that names only an episode.
Generated: everything else, above all purchases, defects and saved time, since no public data links
inferences to money. ``streams/demo_data/SOURCES.md`` lists which column is which.

The events are made one by one in Python: some 15,000 records, under a second, and off the engine's path.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from streams.demo_code_assistant import START_US, add_code_assistant
from streams.demo_log import HOUR_US, TOPICS, Event, Log, read_data, write_topic

#: What a reader of the demo's figures has to be told beside them.
ORIGIN_NOTE = (
    "Arrivals and tokens are real (Azure LLM inference trace 2023, stretched over one week); ids, episodes and "
    "feedback of the other use cases are real (TensorZero fixtures); prices are from real price lists. Models of "
    "code_assistant, conversions, saved time, exchange rates and what a feedback is worth are generated or assumed: "
    "no public data links inferences to money."
)

#: The model behind each TensorZero variant, from the configuration published beside the fixtures.
_VARIANTS = {
    "better_prompt_haiku_3_5": ("claude-3-5-haiku", "claude-3-5-haiku-20241022", "anthropic"),
}
_OTHER_VARIANT = ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", "openai")
#: Metrics that TensorZero's configuration declares for episodes; all others are for inferences.
_EPISODE_METRICS = frozenset(
    {
        "haiku_score_episode",
        "haiku_rating_episode",
        "solved",
        "num_questions",
        "elapsed_ms",
        "judge_score",
        "num_iterations",
    }
)

_BAD_HEAD = b'{"inference_id":"bad-%d","event_time":"2026-03-25T09:00:00Z","use_case":"code_assistant"'
_BAD_OUTCOME = b'{"event_id":"bad-%d","event_time":"2026-03-25T09:00:00Z","type":"%s"'
#: Records that every engine must refuse, each for another reason.
_BAD_RECORDS: tuple[tuple[str, bytes], ...] = (
    ("inferences", _BAD_HEAD % 1 + b',"model":'),
    ("inferences", _BAD_HEAD % 2 + b"}"),
    ("inferences", _BAD_HEAD % 3 + b',"model":"gpt-5-mini","input_tokens":100,"cached_input_tokens":200}'),
    ("inferences", _BAD_HEAD % 4 + b',"model":"gpt-5-mini","status":"ok"}'),
    (
        "inferences",
        b'{"inference_id":"","event_time":"2026-03-25T09:00:00Z","use_case":"code_assistant","model":"gpt-5-mini"}',
    ),
    (
        "inferences",
        b'{"inference_id":"bad-6","event_time":"2026-03-25T09:00:00","use_case":"code_assistant","model":"gpt-5-mini"}',
    ),
    ("conversions", _BAD_OUTCOME % (7, b"pack_bought") + b',"amount":"9.00","currency":"EUX"}'),
    ("conversions", _BAD_OUTCOME % (8, b"pack_bought") + b',"amount":"9.00"}'),
    ("conversions", _BAD_OUTCOME % (9, b"pack_bought") + b',"amount":"-9.00","currency":"EUR"}'),
    ("conversions", _BAD_OUTCOME % (10, b"pack_bought") + b',"amount":"9,00","currency":"EUR"}'),
    ("conversions", _BAD_OUTCOME % (11, b"caf\xe9") + b"}"),
    ("conversions", b'["pack_bought","9.00","EUR"]'),
    ("time_saved", _BAD_OUTCOME % (12, b"code_completion") + b',"seconds":20,"actual_seconds":40}'),
    ("time_saved", _BAD_OUTCOME % (13, b"code_completion") + b',"seconds":"2e1"}'),
    ("time_saved", b'{"event_id":"bad-14","event_time":"24.03.2026 09:00","type":"code_completion","seconds":20}'),
    ("reversals", b'{"event_id":"bad-15","event_time":"2026-03-25T09:00:00Z","amount":"9.00"}'),
)


def write_events(directory: Path, seed: int = 20260301) -> dict[str, int]:
    """Write ``<directory>/demo/events/<topic>/*.jsonl`` and return the number of records per topic.

    The same seed gives the same bytes. Records stand in their order of arrival; duplicates and bad
    records count. Event files of an earlier call are replaced.
    """
    log = Log(Random(seed))  # noqa: S311 - a demo needs the same numbers every time, not secret ones
    _add_tensorzero(log)
    add_code_assistant(log)
    for number, (topic, text) in enumerate(_BAD_RECORDS):
        log.add_raw(topic, START_US + number * 9 * HOUR_US, text)
    events = directory / "demo" / "events"
    for topic in TOPICS:
        write_topic(events / topic, log.lines[topic])
    return {topic: len(log.lines[topic]) for topic in TOPICS}


def _add_tensorzero(log: Log) -> None:
    for row in read_data("tensorzero_inferences.csv.gz"):
        model, version, provider = _VARIANTS.get(row["variant_name"], _OTHER_VARIANT)
        event: Event = {
            "inference_id": row["id"],
            "event_time": _uuid7_ms(row["id"]),
            "use_case": row["function_name"],
            "model": model,
            "model_version": version,
            "provider": provider,
            "endpoint": "tensorzero",
            "arm": row["variant_name"],
            "output_tokens": _tokens(row["output_characters"]),
            "latency_ms": int(row["processing_time_ms"]),
            "trace_id": row["episode_id"],
        }
        if row["input_characters"]:  # absent where the input holds an image
            event["input_tokens"] = _tokens(row["input_characters"])
        log.add("inferences", _uuid7_ms(row["id"]) * 1_000, event)
    for row in read_data("tensorzero_feedback.csv.gz"):
        log.add("conversions", _uuid7_ms(row["id"]) * 1_000, _feedback(row))


def _feedback(row: dict[str, str]) -> Event:
    """A flag becomes a type of its own (``solved=true``), which a rule can value; a number stays an attribute."""
    metric, value = row["metric_name"], row["value"]
    is_flag = value in ("true", "false")
    event: Event = {
        # Flags and numbers live in two tables there, and some ids in both.
        "event_id": f"{'flag' if is_flag else 'number'}-{row['id']}",
        "event_time": _uuid7_ms(row["id"]),
        "type": f"{metric}={value}" if is_flag else metric,
        "trace_id" if metric in _EPISODE_METRICS else "inference_id": row["target_id"],
    }
    if metric == "num_questions":
        event["quantity"] = int(value)
    elif not is_flag:
        event["attributes"] = {"value": value}
    return event


def _uuid7_ms(uuid: str) -> int:
    """A version 7 UUID begins with its time: 48 bits of milliseconds since 1970."""
    return int(uuid.replace("-", "")[:12], 16)


def _tokens(characters: str) -> int:
    """About four characters make a token; the fixtures carry texts but no counts."""
    return (int(characters) + 3) // 4
