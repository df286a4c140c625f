"""What a state holds on to: settings and rules that figures depend on must not change under it."""

from __future__ import annotations

from attribution.rules import Rules
from attribution.toml_tables import Bare
from attribution.windows import format_duration, time_text
from schemas.errors import ConfigurationError, setting_error
from streams.live.commit import Held, HeldTopic
from streams.settings import Settings

_HINT = "replay --state makes a state under other settings and rules from the log"
_DURATIONS = {
    "allowed_lateness_us": "time.allowed_lateness",
    "reversal_window_us": "time.reversal_window",
    "fx_max_age_us": "fx_max_age",
}


def held_by(settings: Settings, rules: Rules) -> Held:
    """What a commit under these settings and rules holds."""
    return Held(
        base_currency=settings.base_currency,
        allowed_lateness_us=settings.time.allowed_lateness_us,
        reversal_window_us=settings.time.reversal_window_us,
        fx_max_age_us=settings.fx_max_age_us,
        topics=[HeldTopic(topic.name, topic.kind.value, topic.mapping) for topic in settings.input.topics],
        rules={rule.rule_id: rule.digest() for rule in rules.rules},
    )


def refuse_changes(before: Held, settings: Settings, rules: Rules, newest_inference_us: int | None) -> None:
    """Raises ConfigurationError where settings or rules are not those of the newest commit.

    Topics may be added, and rules that start after the newest inference time read.
    """
    now, file = held_by(settings, rules), settings.file
    if now.base_currency != before.base_currency:
        raise setting_error(f"{file}: base_currency", expected=before.base_currency, got=now.base_currency, hint=_HINT)
    for name, key in _DURATIONS.items():
        was, is_ = getattr(before, name), getattr(now, name)
        if was != is_:
            raise setting_error(f"{file}: {key}", expected=format_duration(was), got=format_duration(is_), hint=_HINT)
    topics = {topic.name: topic for topic in now.topics}
    for topic in before.topics:
        if topics.get(topic.name) != topic:
            expected = f"kind {topic.kind}, mapping {topic.mapping}, as the state has it"
            got = topics.get(topic.name)
            text = Bare("no such topic" if got is None else f"kind {got.kind}, mapping {got.mapping}")
            raise setting_error(f"{file}: input.topic {topic.name}", expected=expected, got=text, hint=_HINT)
    _refuse_changed_rules(before, now, rules, newest_inference_us)


def _refuse_changed_rules(before: Held, now: Held, rules: Rules, newest_inference_us: int | None) -> None:
    newest = "none" if newest_inference_us is None else time_text(newest_inference_us)
    hint = f"rules in use never change; a new one starts after {newest}, the newest inference time read. {_HINT}"
    for rule_id, digest in before.rules.items():
        if rule_id not in now.rules:
            raise ConfigurationError(f"rule {rule_id}: was in use and is gone. Hint: {hint}")
        if now.rules[rule_id] != digest:
            raise ConfigurationError(f"rule {rule_id}: is not what it was when it was first used. Hint: {hint}")
    for rule in rules.rules:
        is_new = rule.rule_id not in before.rules
        if is_new and newest_inference_us is not None and rule.effective_from_us <= newest_inference_us:
            raise setting_error(
                f"{rule.place}: effective_from",
                expected=f"a time after {newest}, the newest inference time read",
                got=time_text(rule.effective_from_us),
                hint=_HINT,
            )
