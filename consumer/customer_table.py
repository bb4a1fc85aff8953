"""The table `customers.parquet`: what `segmenter replay` and `segmenter features` say of each customer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from consumer.core import Core
from consumer.results import OutputFile
from online_model.active_model import ActiveModel, segment_id
from online_model.decision import Candidates, decide
from online_model.distance import distances
from online_model.evaluate import evaluate
from online_model.rows import Rows
from online_model.scaler import apply as scale
from online_model.services import services


class CustomerTable:
    """A file of live customers with features, services, segment, distance, margin. A context manager.

    `raw_<column>`: features in real units; `x_<column>`: as the model sees them, transformed and scaled;
    `segment_id`: the published one, null without; `distance`: to its centroid, and `margin`, both null where
    it has no centroid (dormant, unclassified, retired). The file appears when it is complete.
    `segments` counts the customers per segment, `inertia` adds up the squared distances to the own centroid.
    Raises `DataError` if it cannot be written.
    """

    def __init__(self, path: Path, core: Core, active: ActiveModel) -> None:
        self._file = OutputFile(path)
        self._core = core
        self._active = active
        columns = core.plan.columns.name
        self._schema = pa.schema(
            [
                ("customer_id", pa.string()),
                *((f"raw_{name}", pa.float64()) for name in columns),
                *((f"x_{name}", pa.float64()) for name in columns),
                ("services", pa.list_(pa.string())),
                ("segment_id", pa.string()),
                ("distance", pa.float64()),
                ("margin", pa.float64()),
            ]
        )
        self._writer: pq.ParquetWriter
        self.segments: Counter[str] = Counter()
        self.inertia = 0.0
        self.customers = 0

    def __enter__(self) -> CustomerTable:
        self._file.__enter__()
        self._writer = pq.ParquetWriter(self._file.stream, self._schema)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._writer.close()
        self._file.__exit__(kind, error, trace)

    def add(self, rows: Rows, chosen: npt.NDArray[np.int32], ids: Sequence[bytes], watermark_us: int) -> None:
        """A row group of the customers `ids`, who are `chosen` of `rows`, as of `watermark_us`."""
        if not len(chosen):
            return
        core, active, model = self._core, self._active, self._active.model
        seen = evaluate(rows, chosen, watermark_us, core.plan, model.share_priors)
        x = scale(model.scaler, seen.raw)
        own = active.codes(rows.hot["segment"][chosen])
        squared = distances(x, model.centroids, model.scaler.importance)
        distance = np.sqrt(squared[np.arange(len(chosen)), np.maximum(own, 0)])
        distance[own < 0] = np.nan
        candidates = Candidates(own, rows.hot["since"][chosen], seen.silent_days)
        decisions = decide(
            x,
            candidates,
            model.centroids,
            model.scaler.importance,
            watermark_us,
            core.engine.settings.policy,
        )
        # Whoever hysteresis keeps in a segment that is no longer the nearest has no margin left.
        margin = np.where(own < 0, np.nan, np.where(own == decisions.nearest, decisions.margin, 0.0))
        names = [segment_id(int(number)) for number in rows.hot["segment"][chosen]]
        self.segments.update(name for name in names if name is not None)
        self.inertia += float(np.nansum(distance**2))
        self.customers += len(chosen)
        arrays = [
            pa.array([customer.decode() for customer in ids]),
            *(_column(values) for values in seen.raw.T),
            *(_column(values) for values in x.T),
            pa.array(services(rows, chosen, core.plan.vocabulary), pa.list_(pa.string())),
            pa.array(names, pa.string()),
            _column(distance),
            _column(margin),
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))


def _column(values: npt.NDArray[np.float64]) -> Any:
    """Missing values are null in the table."""
    return pa.array(values, from_pandas=True)
