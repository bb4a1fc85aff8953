"""What the `models` commands say about versions: documents for programs, rows for tables."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from online_model.model import Lineage, Model, Transition
from online_model.model_head import Version


def summary(model: Version) -> dict[str, Any]:
    """One line about a version."""
    transition = model.transition
    return {
        "version": model.version,
        "kind": model.kind,
        "created": datetime.fromtimestamp(model.created_us / 1e6, UTC).isoformat(timespec="seconds"),
        "k": model.k,
        "silhouette": round(model.quality.silhouette, 3),
        "moved": "" if transition is None else f"{transition.moved_share:.2%}",
        "cause": "" if transition is None else transition.cause,
        "concerns": "" if transition is None else "; ".join(transition.concerns),
    }


def details(model: Model, before: Version | None) -> dict[str, Any]:
    """A version: its segments, what happened to them, and who went where; `before`: the version before."""
    bound = before.strategies if before is not None else {}
    transition = None
    if model.transition is not None:
        transition = _transition(model.transition, bound, model.strategies)
    events = {event.segment_id: event.event for event in model.lineage}
    return summary(model) | {
        "explanation": model.quality.explanation,
        "segments": [
            {
                "id": segment.id,
                "name": segment.name,
                "customers": segment.profile.size if segment.profile else 0,
                "share": round(segment.profile.share, 4) if segment.profile else 0.0,
                "strategy": model.strategies.get(segment.id, ""),
                "event": events.get(segment.id, ""),
            }
            for segment in model.segments
        ],
        "lineage": [_sentence(event) for event in model.lineage if event.event != "kept"],
        "transition": transition,
    }


def _transition(transition: Transition, before: dict[str, str], after: dict[str, str]) -> dict[str, Any]:
    """Moves between segments, and between the strategies that they were and are bound to."""
    moves, changed = [], Counter[tuple[str, str]]()
    for i, row in zip(transition.from_ids, transition.customers, strict=True):
        for j, customers in zip(transition.to_ids, row, strict=True):
            if customers and i != j:
                moves.append({"from": i, "to": j, "customers": customers})
                old, new = before.get(i, "unknown"), after.get(j, "unknown")
                if old != new:
                    changed[old, new] += customers
    return {
        "cause": transition.cause,
        "cost_before": transition.cost_before,
        "cost_after": transition.cost_after,
        "moved_share": transition.moved_share,
        "concerns": transition.concerns,
        "from_ids": transition.from_ids,
        "to_ids": transition.to_ids,
        "customers": transition.customers,
        "moves": sorted(moves, key=lambda move: -int(str(move["customers"]))),
        "strategies": [{"from": old, "to": new, "customers": n} for (old, new), n in changed.most_common()],
    }


def difference(before: Model, after: Model) -> dict[str, Any]:
    """Two versions, segment by segment."""
    old, new = ({s.id: s for s in model.segments} for model in (before, after))
    rows = []
    for id in [*old, *(i for i in new if i not in old)]:
        then, now = old.get(id), new.get(id)
        state = "stays" if then and now else "gone" if then else "new"
        segment = now or then
        assert segment is not None
        rows.append(
            {
                "id": id,
                "name": segment.name,
                "state": state,
                "share_before": round(then.profile.share, 4) if then and then.profile else "",
                "share_after": round(now.profile.share, 4) if now and now.profile else "",
                "strategy_before": before.strategies.get(id, "") if then else "",
                "strategy_after": after.strategies.get(id, "") if now else "",
            }
        )
    return {
        "before": before.version,
        "after": after.version,
        "same_scaler": before.scaler is after.scaler or _same_scaler(before, after),
        "segments": rows,
    }


def _same_scaler(before: Model, after: Model) -> bool:
    pairs = (
        (before.scaler.center, after.scaler.center),
        (before.scaler.scale, after.scaler.scale),
        (before.scaler.importance, after.scaler.importance),
    )
    return all(bool((a == b).all()) for a, b in pairs)


def _sentence(event: Lineage) -> str:
    """An event in words."""
    match event.event:
        case "split":
            return f"{event.segment_id} was split from {' and '.join(event.from_ids)}"
        case "merged":
            return f"{event.segment_id} is made of {' and '.join(event.from_ids)}"
        case "retired":
            heirs = f"; most of its customers are in {' and '.join(event.to_ids)}" if event.to_ids else ""
            return f"{event.segment_id} is retired{heirs}"
        case "restored":
            return f"{event.segment_id} is back"
        case _:
            return f"{event.segment_id} is {event.event}"
