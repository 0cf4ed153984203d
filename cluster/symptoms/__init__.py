"""The table of symptoms: what goes wrong, why, what to do, and the command that shows it.

docs/troubleshooting.md is generated from it, from the log's causes (cluster/engine_causes.py,
cluster/transport_causes.py) and from rank 0's exit codes (cluster/exits.py). Rows name the checks that find
them; a test holds the two together.
"""

from cluster.symptoms.before import BEFORE
from cluster.symptoms.deploying import DEPLOYING
from cluster.symptoms.serving import SERVING
from cluster.symptoms.table import Symptom
from cluster.symptoms.waiting import WAITING

__all__ = ["BEFORE", "DEPLOYING", "SERVING", "WAITING", "Symptom"]
