"""A run's answers as columns: a row per request, and the run by steps of time."""

from __future__ import annotations

from trtspark.bench import measure
from trtspark.bench.load import Run
from trtspark.bench.results import Rows, Timeline

#: A time line has about so many steps, and none shorter than this.
STEPS = 120
SHORTEST_STEP_S = 0.1
#: Microseconds are what a loop's wake-up is good for.
DIGITS = 6


def rows(run: Run) -> Rows:
    """In the order of their starts."""
    found = Rows(start_s=[], ttft_s=[], e2e_s=[], tpot_s=[], prompt_tokens=[], output_tokens=[], error=[])
    for answer in run.answers:
        if not answer.started:
            continue
        good = measure.good(answer)
        one = measure.request(answer, run.began) if good else None
        found.start_s.append(round((answer.started - run.began) / 1e9, DIGITS))
        found.ttft_s.append(round(one.ttft, DIGITS) if one else None)
        found.e2e_s.append(round(one.e2e, DIGITS) if one else None)
        found.tpot_s.append(round(one.tpot, DIGITS + 2) if one and one.tpot is not None else None)
        found.prompt_tokens.append(answer.prompt_tokens)
        found.output_tokens.append(one.output_tokens if one else 0)
        found.error.append("" if good else measure.kind(answer))
    return found


def timeline(run: Run) -> Timeline:
    """Tokens (pieces, where a piece is several) by the step in which they came, and who ran at its end."""
    length = max((run.ended - run.began) / 1e9, SHORTEST_STEP_S)
    step = max(SHORTEST_STEP_S, length / STEPS)
    count = int(length / step) + 1
    tokens, change = [0] * count, [0] * (count + 1)
    width = step * 1e9
    for answer in run.answers:
        if not answer.started:
            continue
        weight = answer.output_tokens / len(answer.tokens) if answer.output_tokens and answer.tokens else 1.0
        counted = 0.0
        for stamp in answer.tokens:
            place = min(int((stamp - run.began) / width), count - 1)
            before = int(counted + 0.5)
            counted += weight
            tokens[place] += int(counted + 0.5) - before
        change[min(max(int((answer.started - run.began) / width), 0), count)] += 1
        change[min(max(int((answer.ended - run.began) / width), 0), count)] -= 1
    running, now = [], 0
    for each in change[:count]:
        now += each
        running.append(now)
    return Timeline(step_s=step, output_tokens=tokens, running=running)
