"""The lab's image registry: Debian's docker-registry on the operator's address, with TLS."""

import socket
import ssl
from pathlib import Path

from lab import process
from lab.errors import LabError
from lab.shell import run
from lab.state import Lab, write_json
from lab.waiting import until

PORT = 5000
DEADLINE = 15.0
VALID_DAYS = 825
"""The longest that clients accept from a private CA."""


def running(lab: Lab) -> bool:
    return process.recorded(_record(lab)) is not None


def ca(lab: Lab) -> Path:
    """Return the certificate that nodes and the operator have to trust."""
    return lab.registry / "ca.pem"


def _record(lab: Lab) -> Path:
    return lab.registry / "process.json"


def write(lab: Lab, address: str) -> None:
    """Write certificates and configuration, unless they are there."""
    folder = lab.registry
    if (folder / "config.yml").exists():
        return
    folder.mkdir(exist_ok=True)
    subject = f"/O=trtllm-dgx-spark lab/CN={lab.id}"
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    days = ("-days", str(VALID_DAYS))
    run("openssl", "req", "-x509", *new_key, *days, "-subj", f"{subject} CA",
        "-keyout", folder / "ca.key", "-out", ca(lab))  # fmt: skip
    run("openssl", "req", "-x509", *new_key, *days, "-subj", subject,
        "-addext", f"subjectAltName=IP:{address}", "-addext", "basicConstraints=critical,CA:FALSE",
        "-CA", ca(lab), "-CAkey", folder / "ca.key",
        "-keyout", folder / "server.key", "-out", folder / "server.pem")  # fmt: skip
    write_json(
        folder / "config.yml",  # JSON is YAML, whatever characters the path has
        {
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {
                "filesystem": {"rootdirectory": str(folder / "data")},
                "delete": {"enabled": True},
            },
            "http": {
                "addr": f"{address}:{PORT}",
                "tls": {"certificate": str(folder / "server.pem"), "key": str(folder / "server.key")},
            },
        },
    )


def start(lab: Lab, address: str) -> None:
    """Start the registry and wait until it answers; nothing happens when it runs.

    Raises:
        LabError: it ended, or does not answer in time.
    """
    if running(lab):
        return
    write(lab, address)
    log = lab.registry / "registry.log"
    process.start(
        ["docker-registry", "serve", lab.registry / "config.yml"],
        _record(lab),
        log,
        {"PATH": "/usr/bin:/bin", "OTEL_TRACES_EXPORTER": "none"},
    )

    def missing() -> str | None:
        if not running(lab):
            raise LabError(f"The registry ended at once. See {log}.")
        return _refusal(address, ca(lab))

    until(missing, "the registry to answer", DEADLINE, hint=f"See {log}.")


def _refusal(address: str, trusted: Path) -> str | None:
    try:
        with socket.create_connection((address, PORT), 2) as plain:
            context = ssl.create_default_context(cafile=str(trusted))
            context.wrap_socket(plain, server_hostname=address).close()
    except OSError as error:
        return str(error)
    return None


def stop(lab: Lab) -> None:
    process_there = process.recorded(_record(lab))
    if process_there:
        process_there.kill("the registry")
