"""The IBM telco set as events of the contract. The set is not part of the project."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "ibm_telco"
CSV = FOLDER / "Telco-Customer-Churn.csv"

#: The set's day: the first of a month, 00:00 UTC.
T0 = datetime(2026, 6, 1, tzinfo=UTC)

SPEC = """
version: 1
name: ibm-telco
provisional_days: 0
dormancy_feature: null
blocks:
  all: {budget: 2.0}
features:
  - {name: tenure, unit: months, aggregate: tenure, field: months, block: all, clip: false,
     words: {high: long-standing _, low: new _, more: have been customers _ longer, less: are _ newer}}
  - {name: monthly_charge, label: monthly charge, unit: currency, aggregate: last, events: [invoice],
     field: amount, block: all, clip: false,
     words: {high: high spenders, low: low spenders, more: pay _ more a month, less: pay _ less a month}}
"""
TOTAL = """
  - {name: total_charges, label: total charges, unit: currency, aggregate: lifetime_sum, events: [invoice],
     field: amount, block: all, clip: false,
     words: {more: have paid _ more in all, less: have paid _ less in all}}
"""
#: Offers by value and loyalty, since the set has no usage.
STRATEGIES = """
version: 1
strategies:
  - &rest
    {id: default, name: Everybody else, offer: An upgrade of choice, channel: email, message_tone: friendly,
     service_package: Current bundle, support_tier: standard, retention_trigger: A service is cancelled,
     kpi: Customers lost within 90 days}
  - {<<: *rest, id: loyal-premium, name: Thank the loyal, support_tier: premium,
     when: [{column: tenure, op: high}, {column: monthly_charge, op: high}]}
  - {<<: *rest, id: new-premium, name: Win the first year, offer: A lower price for a one-year contract,
     when: [{column: tenure, op: low, value: 0.3}, {column: monthly_charge, op: high, value: 0.3}]}
  - {<<: *rest, id: loyal-basic, name: Grow the loyal, offer: Internet for three months on trial,
     when: [{column: tenure, op: high}, {column: monthly_charge, op: low}]}
  - {<<: *rest, id: new-basic, name: Settle the new, offer: A second service at half price,
     when: [{column: tenure, op: low}, {column: monthly_charge, op: low}]}
  - {<<: *rest, id: dormant, name: Win back}
  - {<<: *rest, id: unclassified, name: Getting to know}
"""


def table() -> pd.DataFrame:
    """customerID, tenure (months), MonthlyCharges, TotalCharges (blank is 0), by customer."""
    data = pd.read_csv(CSV)[["customerID", "tenure", "MonthlyCharges", "TotalCharges"]]
    data["TotalCharges"] = pd.to_numeric(data["TotalCharges"], errors="coerce").fillna(0.0)
    return data.set_index("customerID").sort_index()


def write_events(path: Path) -> int:
    """Writes the set as NDJSON in order of event time; the number of lines.

    A profile when the customer was activated, `tenure` months before `T0`; an invoice of the monthly
    charge each month since, one at least, the last one just before `T0`; and before the last one a
    charge or a credit note, so that the sum is the total.
    """
    records: list[tuple[str, str]] = []
    for customer, row in table().iterrows():
        tenure, monthly, total = int(row["tenure"]), float(row["MonthlyCharges"]), float(row["TotalCharges"])
        activated = _months_before(tenure)
        head = {"customer_id": customer}
        profile = {"type": "profile", "activated_on": activated.date().isoformat(), "line_type": "postpaid"}
        records.append(_record(head | profile, f"{customer}-p", activated))
        bills = max(tenure, 1)
        for month in range(bills):
            # Bills are due at the end of a month of service: 1 is the month before T0.
            due = _months_before(bills - 1 - month)
            records.append(_record(head | _invoice(monthly), f"{customer}-{month}", due))
        rest = round(total - monthly * bills, 2)
        if rest:
            adjusted = activated if tenure else _months_before(1)
            records.append(_record(head | _invoice(rest), f"{customer}-a", adjusted))
    records.sort(key=lambda record: record[0])  # stable: a profile stays before the first bill
    with path.open("w") as file:
        file.writelines(f"{line}\n" for _, line in records)
    return len(records)


def _months_before(months: int) -> datetime:
    index = T0.year * 12 + T0.month - 1 - months
    return datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC)


def _invoice(amount: float) -> dict[str, object]:
    return {"type": "invoice", "amount": amount, "currency": "EUR"}


def _record(event: dict[str, object], number: str, time: datetime) -> tuple[str, str]:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ")
    return stamp, json.dumps(event | {"event_id": number, "event_time": stamp})
