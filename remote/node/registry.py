"""What the image's registry answers to this machine: Docker asks it, by its own proxy and trust.

Nothing is pulled. The question carries the login that this user has for the registry, as the pull does
(docker_api.py).
"""

import json
import time
import urllib.parse

from remote.node import docker_api, probe


def look(args):
    """{"descriptor", "platforms"} as Docker gives them, {"error": its text} or {"silent": True}.

    args: "image", its name, and "seconds", how long to wait. Docker goes on asking after that.
    """
    deadline = time.monotonic() + args["seconds"]
    name = urllib.parse.quote(args["image"], safe="/:@.")
    login = "X-Registry-Auth: %s\r\n" % docker_api.login(args["image"])
    answer = probe._ask("/distribution/%s/json" % name, deadline, login)
    if answer["rc"] == 124:
        return {"silent": True}
    if answer["rc"]:
        return {"error": answer["err"][:4000]}
    found = json.loads(answer["out"])
    return {"descriptor": found.get("Descriptor"), "platforms": found.get("Platforms")}
