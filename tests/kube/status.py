"""Errors as the API server words them: every one is a ``Status`` object."""

from __future__ import annotations

from typing import Any

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
KINDS = {"pods": "Pod", "events": "Event", "nodes": "Node"}


class ApiError(Exception):
    """A request that is refused."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str | None = None,
        details: dict[str, Any] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason or REASONS[code]
        self.details = details
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> dict[str, Any]:
        """The body of the answer."""
        details = dict(self.details or {})
        if self.retry_after_s is not None:
            details["retryAfterSeconds"] = self.retry_after_s
        body = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        return {**body, "details": details} if details else body


def bad_request(message: str) -> ApiError:
    return ApiError(400, message)


def not_found(resource: str, name: str) -> ApiError:
    return ApiError(404, f'{resource} "{name}" not found', details={"name": name, "kind": resource})


def no_such_path() -> ApiError:
    return ApiError(404, "the server could not find the requested resource", details={"causes": []})


def already_exists(resource: str, name: str) -> ApiError:
    return ApiError(
        409,
        f'{resource} "{name}" already exists',
        reason="AlreadyExists",
        details={"name": name, "kind": resource},
    )


def conflict(resource: str, name: str, why: str) -> ApiError:
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return ApiError(409, message, details={"name": name, "kind": resource})


def forbidden(resource: str, name: str, why: str) -> ApiError:
    named = f'{resource} "{name}"' if name else resource
    return ApiError(403, f"{named} is forbidden: {why}", details={"name": name, "kind": resource})


def invalid(kind: str, name: str, causes: list[Cause]) -> ApiError:
    """422 with one cause per field."""
    texts = [f"{field}: {text}" for _, field, text in causes]
    shown = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = {
        "name": name,
        "kind": kind,
        "causes": [{"reason": reason, "message": text, "field": field} for reason, field, text in causes],
    }
    return ApiError(422, f'{kind} "{name}" is invalid: {shown}', details=details)


Cause = tuple[str, str, str]
"""Reason (``FieldValueInvalid`` …), field and message."""


class Causes(list[Cause]):
    """What is wrong with an object, field by field, in the API server's words."""

    def invalid(self, field: str, value: object, why: str) -> None:
        self.append(("FieldValueInvalid", field, f"Invalid value: {_shown(value)}: {why}"))

    def required(self, field: str, why: str = "") -> None:
        self.append(("FieldValueRequired", field, f"Required value: {why}" if why else "Required value"))

    def duplicate(self, field: str, value: object) -> None:
        self.append(("FieldValueDuplicate", field, f"Duplicate value: {_shown(value)}"))

    def missing(self, field: str, value: object) -> None:
        self.append(("FieldValueNotFound", field, f"Not found: {_shown(value)}"))

    def forbidden(self, field: str, why: str) -> None:
        self.append(("FieldValueForbidden", field, f"Forbidden: {why}"))

    def one_of(self, field: str, value: object, allowed: list[str]) -> None:
        values = ", ".join(f'"{each}"' for each in sorted(allowed))
        self.append(
            ("FieldValueNotSupported", field, f"Unsupported value: {_shown(value)}: supported values: {values}")
        )


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
