"""What clients are told where a request can't be answered."""

from __future__ import annotations

import logging
from typing import NamedTuple

from starlette.responses import JSONResponse, Response

from toolprm_jax.records import DataError

from .responses import error
from .worker import BusyError, StoppedError

_log = logging.getLogger(__name__)


class RefusedError(Exception):
    """A request that gets an error."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param = status, message, param


class Refusal(NamedTuple):
    """What `refusal` takes."""

    message: str
    status: int
    param: str | None = None
    headers: dict[str, str] | None = None


def told(wrong: Exception) -> Refusal:
    """What a client is told of an exception; one that is the server's own mistake is logged."""
    if isinstance(wrong, RefusedError):
        return Refusal(wrong.message, wrong.status, wrong.param)
    if isinstance(wrong, BusyError):
        return Refusal(f"{wrong}; try again", 429, None, {"Retry-After": "1"})
    if isinstance(wrong, StoppedError):
        return Refusal(str(wrong), 503)
    if isinstance(wrong, DataError):
        return Refusal(str(wrong), 400, str(wrong).partition(":")[0].split("[")[0])
    _log.error("a request failed", exc_info=wrong)
    return Refusal("the server has made a mistake; its log says which", 500)


def refusal(
    message: str, status: int, param: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    """An error in OpenAI's form."""
    return JSONResponse(error(message, status, param), status, headers)
