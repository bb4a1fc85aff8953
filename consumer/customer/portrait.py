"""What is known of one customer, in words and real units: as of the last commit, and what is to come."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from consumer.customer.lookup import Found
from consumer.errors import ConfigError
from online_model.active_model import ActiveModel, segment_id
from online_model.decision import Candidates, decide, drivers
from online_model.evaluate import Evaluated, evaluate
from online_model.model import DORMANT, DORMANT_CODE, NO_SEGMENT, Model
from online_model.outlook import dormant_from_us, first_scan_us, last_activity_us, outlook
from online_model.rows import CLOSED, FORGOTTEN, LIVE, NEVER, SEGMENT_DORMANT, UNBORN, WITHDRAWN
from online_model.scaler import apply as scale
from online_model.smallest_change import Move, Mover, Situation
from online_model.strategy import arm
from schemas.batch import CONSENT_GIVEN, CONSENT_UNKNOWN, Attribute
from schemas.times import format_time

_STATUS: Final = {
    LIVE: "live",
    CLOSED: "closed",
    WITHDRAWN: "consent withdrawn",
    FORGOTTEN: "erased",
    UNBORN: "no event was taken yet",
}
#: Ways by one feature that are shown.
_WAYS: Final = 5
#: The outlook ends with dormancy, or this many days after the dormancy rule's.
_BEYOND_DAYS: Final = 2.0


class Portrait:
    """A live customer under the newest model; `document` and `towards` are for programs and for tables."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._policy = found.core.engine.settings.policy
        self._active: ActiveModel | None = found.state.active
        self._names = {} if found.model is None else {s.id: s.name for s in found.model.segments}

    def document(self) -> dict[str, Any]:
        """Everything but the log: life, segment, features, outlook."""
        found, state, row = self._found, self._found.state, self._found.row
        hot = state.store.rows.hot[row]
        told: dict[str, Any] = {
            "customer_id": found.customer.decode(),
            "partition": state.number,
            "as_of": {"watermark": format_time(state.watermark_us), "commit": found.restored.commits},
            "status": _STATUS[int(hot["status"])],
            "consent": self._consent(),
            "segment": self._segment(int(hot["segment"])),
            "since": _time(int(hot["since"])) if int(hot["seq"]) else None,
            "seq": int(hot["seq"]),
            "provisional": bool(hot["provisional"]),
            "model_version": 0 if found.model is None else found.model.version,
        }
        if int(hot["status"]) != LIVE or self._active is None or found.model is None:
            return told
        seen = self._seen(found.model)
        return told | {
            "first_event": _time(int(hot["first_event"])),
            "observed_days": round(float(seen.observed_days[0]), 2),
            "strategy": self._strategy(self._active, found.model),
            "confidence": self._confidence(self._active, found.model, seen),
            "features": self._features(self._active, found.model, seen),
            "outlook": self._outlook(self._active),
        }

    def towards(self, segment: str) -> dict[str, Any]:
        """How the customer gets to a segment, given by id or name. Raises `ConfigError`."""
        found, active = self._found, self._active
        hot = found.state.store.rows.hot[found.row]
        if int(hot["status"]) != LIVE or active is None or found.model is None:
            raise ConfigError(
                "this customer has no features to change", "ask for a live customer, when there is a model"
            )
        if segment == DORMANT:
            return {"to": self._segment(SEGMENT_DORMANT), "by": "silence"} | self._outlook(active)
        target = self._target(active, segment)
        situation, conditions = self._situation(active, found.model)
        mover = Mover(found.core.plan, found.model, self._policy)
        answer = mover.answer(situation, target)
        best = answer.best
        if best is None:
            conditions.append("no one and no two features can do it")
        return {
            "to": self._segment(int(active.numbers[target])),
            "conditions": conditions,
            "smallest": None if best is None else self._move(best, mover),
            "by_one_feature": [self._move(move, mover) for move in answer.singles[:_WAYS]],
            "by_two_features": None if answer.pair is None else self._move(answer.pair, mover),
        }

    # -- parts -----------------------------------------------------------------------------------

    def _segment(self, number: int) -> dict[str, str] | None:
        name = segment_id(number)
        return None if name is None else {"id": name, "name": self._names.get(name, name)}

    def _consent(self) -> dict[str, Any]:
        rows, row = self._found.state.store.rows, self._found.row
        consent = int(rows.hot["consent"][row])
        if consent == CONSENT_UNKNOWN:
            return {"profiling": None, "as_of": None}
        second = int(rows.attribute_time[row, Attribute.CONSENT_PROFILING])
        return {"profiling": consent == CONSENT_GIVEN, "as_of": format_time(second * 1_000_000)}

    def _seen(self, model: Model) -> Evaluated:
        """The features as of the watermark, at which the rows stand."""
        state = self._found.state
        which = np.array([self._found.row], np.int32)
        return evaluate(state.store.rows, which, state.watermark_us, state.plan, model.share_priors)

    def _confidence(self, active: ActiveModel, model: Model, seen: Evaluated) -> dict[str, Any]:
        """Nearest segments and what holds the customer on the side of the nearest one."""
        hot = self._found.state.store.rows.hot[self._found.row]
        x = scale(model.scaler, seen.raw)
        own = active.codes(np.array([hot["segment"]], np.int16))
        candidates = Candidates(own, np.array([hot["since"]], np.int64), seen.silent_days)
        made = decide(
            x,
            candidates,
            model.centroids,
            model.scaler.importance,
            self._found.state.watermark_us,
            self._policy,
        )
        near, second = int(made.nearest[0]), int(made.runner_up[0])
        if near < 0:
            return {"margin": None, "nearest": None, "runner_up": None, "held_by": []}
        held = drivers(x, made.runner_up, made.nearest, model.centroids, active.feature)
        columns = self._found.core.plan.columns
        pulls = zip(held.column[0].tolist(), held.contribution[0].tolist(), strict=True)
        return {
            "margin": round(float(made.margin[0]), 4),
            "nearest": self._segment(int(active.numbers[near])),
            "runner_up": None if second < 0 else self._segment(int(active.numbers[second])),
            "held_by": [
                {"feature": columns.name[column], "label": columns.label[column], "share": round(share, 4)}
                for column, share in pulls
                if column >= 0
            ],
        }

    def _features(self, active: ActiveModel, model: Model, seen: Evaluated) -> list[dict[str, Any]]:
        """In real units, beside what is typical of the own segment."""
        hot = self._found.state.store.rows.hot[self._found.row]
        code = int(active.codes(np.array([hot["segment"]], np.int16))[0])
        profile = model.segments[code].profile if code >= 0 else None
        columns = self._found.core.plan.columns
        return [
            {
                "feature": columns.name[j],
                "label": columns.label[j],
                "unit": columns.unit[j],
                "value": _number(float(seen.raw[0, j])),
                "segment_typical": None if profile is None else _number(profile.mean[j]),
            }
            for j in range(columns.n)
        ]

    def _strategy(self, active: ActiveModel, model: Model) -> dict[str, Any] | None:
        hot = self._found.state.store.rows.hot[self._found.row]
        bound = model.strategies.get(segment_id(int(hot["segment"])) or "")
        for strategy in self._found.core.strategies.strategies:
            if strategy.id == bound:
                own = arm(self._found.customer, strategy.id, strategy.control_share)
                return {"id": strategy.id, "version": strategy.version, "arm": own}
        return None

    def _outlook(self, active: ActiveModel) -> dict[str, Any]:
        """If nothing happens and the model stays: when dormant, and what segments before that."""
        state, row = self._found.state, self._found.row
        active_us = last_activity_us(state, row)
        days = self._policy.dormant_after_days + _BEYOND_DAYS
        moves = outlook(state, row, active, self._policy, days)
        told: dict[str, Any] = {
            "last_activity": None,
            "dormant_from": None,
            "found_by_scan": None,
            "moves": [{"at": format_time(m.at_us), "segment": self._segment(m.number)} for m in moves],
        }
        if active_us is not None and active_us != NEVER:
            rule_us = dormant_from_us(active_us, self._policy)
            told["last_activity"] = format_time(active_us)
            told["dormant_from"] = format_time(rule_us)
            told["found_by_scan"] = format_time(first_scan_us(rule_us, state.scan.interval_us))
        return told

    def _target(self, active: ActiveModel, segment: str) -> int:
        """Centroid of a segment's id or name."""
        model = active.model
        for code, one in enumerate(model.segments):
            if segment in (one.id, one.name):
                return code
        known = ", ".join(f"{one.id} ({one.name})" for one in model.segments)
        raise ConfigError(f"--to {segment}: there is no such segment", f"one of {known}, or {DORMANT}")

    def _situation(self, active: ActiveModel, model: Model) -> tuple[Situation, list[str]]:
        """The customer as the next decision would find them, and what has to be true besides."""
        state, row, conditions = self._found.state, self._found.row, list[str]()
        hot = state.store.rows.hot[row]
        seen = self._seen(model)
        code = int(active.codes(np.array([hot["segment"]], np.int16))[0])
        raw, inactive = seen.raw[0].copy(), float(seen.silent_days[0])
        dwelt_us = int(hot["since"]) + self._policy.min_dwell_us
        if code >= 0 and dwelt_us > state.watermark_us:
            conditions.append(f"not before {format_time(dwelt_us)} (decision.min_dwell_days)")
        if code == DORMANT_CODE or inactive >= self._policy.dormant_after_days:
            conditions.append("an activity first: silence comes before everything else")
            silence = state.plan.spec.dormancy_feature
            raw[[name == silence for name in state.plan.columns.feature]] = 0.0
            inactive = 0.0
        if code == NO_SEGMENT:
            conditions.append("the first assignment: of a customer who has no segment yet")
        return Situation(raw, code, inactive), conditions

    def _move(self, move: Move, mover: Mover) -> dict[str, Any]:
        columns = self._found.core.plan.columns
        return {
            "size": round(move.size, 4),
            "steps": [
                {
                    "feature": columns.name[step.column],
                    "label": columns.label[step.column],
                    "unit": columns.unit[step.column],
                    "before": _exact(step.before),
                    "after": _exact(step.after),
                    "change": _exact(step.after - step.before),
                    "kind": "behaviour" if mover.is_behaviour(step.column) else "given",
                }
                for step in move.steps
            ],
        }


def _time(time_us: int) -> str | None:
    return None if time_us == NEVER else format_time(time_us)


def _number(value: float | None) -> float | None:
    """Six significant digits for people; None for missing."""
    return None if value is None or math.isnan(value) else float(f"{value:.6g}")


def _exact(value: float) -> float | None:
    """Nothing is rounded here: the answer holds for these numbers. None for missing."""
    return None if math.isnan(value) else value
