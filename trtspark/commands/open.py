"""`trtspark open`: how clients reach the endpoint."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from cluster.errors import NodeError
from trtspark import terminal
from trtspark.project import Choice

if TYPE_CHECKING:
    from remote.ssh import Connection

#: The API asks for no key, but its clients insist on one.
ANY_KEY = "none"


def run(
    context: typer.Context,
    tunnel: Annotated[
        bool, typer.Option("--tunnel", help="Forward the endpoint to this machine over ssh, until Ctrl-C.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The local port of the tunnel (default: the API's).")
    ] = None,
) -> None:
    """Print the endpoint and the settings that common clients want.

    Examples:

      trtspark open

      trtspark open --tunnel --port 8000
    """
    choice: Choice = context.obj
    stack = choice.open()
    url = stack.endpoint()
    model = str(stack.outputs.get("model") or stack.settings.model)
    if not tunnel:
        terminal.out.print(settings(url, model), markup=False)
        return
    local = port or urlsplit(url).port or 80
    terminal.out.print(settings(f"http://127.0.0.1:{local}", model), markup=False)
    terminal.hint(f"Forwarding 127.0.0.1:{local} to {url} over ssh. Ctrl-C ends it.")
    _forward(stack.connections[0], local, url)


def settings(url: str, model: str) -> str:
    """The text: one paragraph per client."""
    return f"""\
Endpoint   {url}/v1
Model      {model}
API key    none is asked for; give clients any word

curl       curl {url}/v1/chat/completions -H 'Content-Type: application/json' \\
             -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'

openai     export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={ANY_KEY}
           client = OpenAI(base_url="{url}/v1", api_key="{ANY_KEY}")

LangChain  ChatOpenAI(base_url="{url}/v1", api_key="{ANY_KEY}", model="{model}")

Open WebUI docker run -d -p 3000:8080 -e OPENAI_API_BASE_URL={url}/v1 -e OPENAI_API_KEY={ANY_KEY} \\
             -v open-webui:/app/backend/data ghcr.io/open-webui/open-webui:main

VS Code    Continue, in config.yaml:
             models:
               - name: {model}
                 provider: openai
                 model: {model}
                 apiBase: {url}/v1
                 apiKey: {ANY_KEY}
"""


def forward_words(connection: Connection, local: int, url: str) -> Sequence[str]:
    """ssh's command line: a connection of its own, so that ending it ends the tunnel."""
    from remote.ssh import options

    far = urlsplit(url)
    return [
        "ssh",
        *options(connection),
        *("-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes"),
        *("-N", "-L", f"127.0.0.1:{local}:{far.hostname}:{far.port}"),
        *("-p", str(connection.port), f"{connection.user}@{connection.host}"),
    ]


def _forward(connection: Connection, local: int, url: str) -> None:
    done = subprocess.run(
        forward_words(connection, local, url), stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NodeError(connection.target, f"the tunnel ended: {said}.", "Is the local port free?")
