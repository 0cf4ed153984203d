"""The routes of the server, by age of the simulated release."""

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..logger import logger
from ..version import EARLY_2026, at_least, current
from . import chat, completions, errors, responses
from .health import well
from .model import Model

UNAVAILABLE = "LLM is unavailable. Please check the server logs for more details."
METRICS_SECONDS = 2.0
"""How long /metrics waits for iteration statistics that nobody collects."""

Handler = Callable[[Model, Request], Awaitable[Response]]


def application(model: Model) -> Starlette:
    """The ASGI application for one model."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await model.engine.attach()
        yield
        await model.engine.close()

    app = Starlette(
        routes=[
            Route(path, _endpoint(handler, model), methods=[verb]) for verb, path, handler in _routes(model)
        ],
        lifespan=lifespan,
        exception_handlers={HTTPException: _http_error},
    )
    app.router.redirect_slashes = True
    return app


def _routes(model: Model) -> list[tuple[str, str, Handler]]:
    routes: list[tuple[str, str, Handler]] = [
        ("GET", "/health", _health),
        ("GET", "/health_generate", _health_generate),
        ("GET", "/version", _version),
        ("GET", "/v1/models", _models),
        ("GET", "/metrics", _metrics),
        ("GET", "/perf_metrics", _perf_metrics),
        ("GET", "/steady_clock_offset", _clock),
        ("POST", "/steady_clock_offset", _clock),
        ("POST", "/kv_cache_events", _kv_cache_events),
        ("POST", "/v1/completions", completions.handle),
        ("POST", "/v1/chat/completions", chat.handle),
        ("POST", "/v1/responses", responses.handle),
    ]
    if at_least(EARLY_2026):
        routes.append(("GET", "/server_info", _server_info))
        routes += [(verb, "/v1/responses/{response_id}", responses.missing) for verb in ("GET", "DELETE")]
        routes += [("POST", f"/{name}", _done) for name in ("release_memory", "resume_memory")]
    if model.args["return_perf_metrics"]:
        routes.append(("GET", "/prometheus/metrics/", _prometheus))
    return routes


def _endpoint(handler: Handler, model: Model) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return await handler(model, request)
        except errors.Invalid as error:
            return JSONResponse(errors.document(error), 400)
        except errors.Refused as error:
            return JSONResponse(errors.document(error), error.code)
        except Exception as error:  # the real server answers 400 to any exception
            logger.error(traceback.format_exc())
            return JSONResponse(errors.document(errors.Refused(str(error))), 400)

    return endpoint


async def _http_error(_: Request, error: Exception) -> Response:
    """FastAPI's form of 404 and 405."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


async def _health(model: Model, _: Request) -> Response:
    """200, or 503 where the release knows that the executor is gone."""
    if not well(model.engine):
        return PlainTextResponse(UNAVAILABLE, 503)
    return Response(status_code=200)


async def _health_generate(model: Model, _: Request) -> Response:
    """One token through all ranks; blocks when one of them is silent."""
    try:
        await completions.one_token(model, "hi")
    except Exception as error:  # reported in the answer
        return PlainTextResponse(f"Generation health check failed: {error}", 500)
    return PlainTextResponse("Generation health check OK")


async def _version(_: Model, __: Request) -> Response:
    return JSONResponse({"version": current()})


async def _models(model: Model, _: Request) -> Response:
    entry = {"id": model.name, "object": "model", "created": int(time.time()),
             "owned_by": "tensorrt_llm"}  # fmt: skip
    return JSONResponse({"object": "list", "data": [entry]})


async def _metrics(model: Model, _: Request) -> Response:
    if not model.args["enable_iter_perf_stats"]:
        await asyncio.sleep(METRICS_SECONDS)
    return JSONResponse(model.metrics.drain())


async def _perf_metrics(model: Model, _: Request) -> Response:
    kept = model.args.get("perf_metrics_max_requests") or 0
    most = kept if model.args["return_perf_metrics"] else 0
    return JSONResponse(model.metrics.drain_timings(most))


async def _clock(_: Model, __: Request) -> Response:
    now = time.monotonic()
    return JSONResponse({"receive_ts": now, "transmit_ts": time.monotonic()})


async def _kv_cache_events(_: Model, __: Request) -> Response:
    return JSONResponse([])


async def _server_info(_: Model, __: Request) -> Response:
    return JSONResponse({"disaggregated_params": {}})


async def _done(_: Model, __: Request) -> Response:
    return JSONResponse({"status": "success"})


async def _prometheus(model: Model, _: Request) -> Response:
    prefix = "trtllm_" if at_least(EARLY_2026) else ""
    return PlainTextResponse(model.metrics.prometheus(model.name, prefix))
