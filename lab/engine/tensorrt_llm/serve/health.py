"""What /health knows of the executor, which differs by release."""

from ..executor.proxy import Engine
from ..version import HEALTH_KNOWS_ERRORS, HEALTH_KNOWS_SHUTDOWN, at_least


def well(engine: Engine) -> bool:
    """Whether /health answers 200: before 1.3.0rc3 always, whatever became of the ranks.

    A completion that fails changes nothing here, in no release.
    """
    gone = engine.shut_down and at_least(HEALTH_KNOWS_SHUTDOWN)
    return not (gone or (engine.broken and at_least(HEALTH_KNOWS_ERRORS)))
