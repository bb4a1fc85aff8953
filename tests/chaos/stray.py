"""Late copies of requests that ended a transaction, sent into the middle of later ones.

A client that hears no answer asks again, and the first request may still be under way: held up in a network,
it arrives when the next transaction is open. Brokers tell the two apart by the producer's epoch only, and a
client without KIP-890 keeps its epoch from one transaction to the next. So the product replaces its producer
after every step that was slow enough to have been repeated.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import Final

from tests.brokers.answer_proxy import END_TXN, TXN_OFFSET_COMMIT, AnswerProxy, ended_otherwise, error_of_end
from tests.chaos.lives import Verdict, judge, wait_for_commits
from tests.chaos.stage import Options, Run, Stage, Stuck

#: Copies of each request, spread over as many transactions.
_COPIES: Final = 8
#: Every transaction stays open for so long, with all of its records written and no offsets.
_OPEN_MS: Final = 80


def stray_end(stage: Stage, seed: int, mutant: str = "") -> Verdict:
    """The answer to an end of a transaction is lost; copies of that request come later, as they were and the
    other way round. The same with the offsets of a transaction.
    """
    verdict = Verdict()
    with closing(AnswerProxy(stage.cluster.nodes[0].direct)) as proxy:
        options = Options(3, mutant=mutant, calm=True, settings={"kafka.bootstrap": proxy.bootstrap})
        with Run(stage, seed, "stray", options) as run:
            try:
                run.start(f"flush.after=sleep:{_OPEN_MS}%1")
                wait_for_commits(run, 9)
                for api in (END_TXN, TXN_OFFSET_COMMIT):
                    _lose_one(run, proxy, api)
                    _send_copies(run, proxy, api, verdict)
                run.wait_until_done(90)
                judge(run, verdict)
            except Stuck as stuck:
                verdict.problems.append(f"stuck: {stuck}")
    return verdict


def _lose_one(run: Run, proxy: AnswerProxy, api: int) -> None:
    """Loses an answer, and waits until a commit has come after it."""
    proxy.lose[api] = 1
    end = time.monotonic() + 20
    while proxy.lose[api]:
        if time.monotonic() > end:
            raise Stuck("no transaction comes by")  # several brokers: the coordinator is another one
        time.sleep(0.002)
    wait_for_commits(run, run.observer.commits + 3)


def _send_copies(run: Run, proxy: AnswerProxy, api: int, verdict: Verdict) -> None:
    request = proxy.lost[api]
    for _ in range(_COPIES):
        if run.is_done:
            return
        before = run.observer.commits
        if api == END_TXN:
            codes = [error_of_end(proxy.again(copy)) for copy in (ended_otherwise(request), request)]
            verdict.faults += [f"stray end answered {code}" for code in codes]
        else:
            proxy.again(request)
            verdict.faults.append("stray offsets")
        wait_for_commits(run, before + 3)
