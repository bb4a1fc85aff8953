"""`segmenter verify`: every published change derived again from the log, in plain Python.

What it shares with the service is declarative: the contracts (`schemas.reference`), the feature
specification, the strategy file, the settings. Windows, features, scaling, distances, decisions and
records are written a second time, with dictionaries, integers and floats, so that an error of the
vectorised code cannot hide behind itself.
"""

from consumer.verify.findings import Finding, Report
from consumer.verify.log import Record, Source
from consumer.verify.verifier import Rules, Verifier

__all__ = ["Finding", "Record", "Report", "Rules", "Source", "Verifier"]
