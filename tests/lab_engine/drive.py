"""Runs inside the image: starts a server, asks it things, ends it, and prints what was seen as JSON.

`python3 drive.py TASK`; TASK is JSON: {"command": […], "asks": [[verb, path, body], …], "kill": a pattern of
a process to kill in place of the command itself, "signal": number, "seconds": how long to wait for an end}.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import time

PORT = 8355


def ask(verb, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)
    text = json.dumps(body) if isinstance(body, (dict, list)) else body
    connection.request(verb, path, text, {"Connection": "close"})
    answer = connection.getresponse()
    seen = [answer.status, answer.getheader("content-type"), answer.read().decode()]
    connection.close()
    return seen


def wait_until_ready(process):
    """Seconds until /health said 200, or None when the process ended before."""
    begun = time.monotonic()
    while process.poll() is None and time.monotonic() - begun < 30:
        try:
            if ask("GET", "/health")[0] == 200:
                return time.monotonic() - begun
        except OSError:
            time.sleep(0.02)
    return None


def find(pattern):
    """The last process whose command line contains the pattern."""
    found = None
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                line = file.read().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if pattern in line and pid != os.getpid() and "drive.py" not in line:
            found = pid
    return found


def main():
    task = json.loads(sys.argv[1])
    seen = {"answers": [], "ready": None, "exit": None}
    with open("/tmp/log", "w+b") as log:
        process = subprocess.Popen(task["command"], stdout=log, stderr=subprocess.STDOUT)
        if task.get("asks") is not None:
            seen["ready"] = wait_until_ready(process)
            seen["answers"] = [ask(*words) for words in task["asks"] if seen["ready"]]
            target = find(task["kill"]) if "kill" in task else process.pid
            os.kill(target, task.get("signal", signal.SIGTERM))
        try:
            seen["exit"] = process.wait(task.get("seconds", 10))
        except subprocess.TimeoutExpired:
            process.kill()
        log.seek(0)
        seen["log"] = log.read().decode(errors="replace")
    print(json.dumps(seen))


main()
