"""What S3 and boto3 say when something fails, as Callsheet's typed errors with the way out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions as boto

from include.base.errors import CallsheetError, ConfigurationError, StorageError

NO_OBJECT = frozenset({"NoSuchKey", "404"})
NO_UPLOAD = frozenset({"NoSuchUpload", "404"})
"""An upload in parts has ended. Where the body of an error breaks off, its status is all there is."""
DENIED = frozenset(
    {"AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "Forbidden", "KMS.AccessDeniedException"}
)
CHANGED = "412"
"""What :func:`code_of` says of a failed precondition: the object is not the one that was meant."""
_EXPIRED = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "InvalidToken"}
)
_WRONG_KEYS = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId"})
_OTHER_REGION = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
)
_CREDENTIALS_LOST = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
)


@contextmanager
def s3_errors(where: str) -> Iterator[None]:
    """Turns what boto3 raises inside into a typed error that names ``where``, the object's address, and the way out."""
    try:
        yield
    except (boto.BotoCoreError, boto.ClientError) as error:
        raise failure(error, where) from error
    except RuntimeError as error:
        # So botocore says that credentials that it was given have ended.
        if "credentials" not in str(error):
            raise
        raise _no_credentials(where, str(error)) from error


def code_of(error: Exception) -> str | None:
    """S3's word for a failure, e.g. ``NoSuchKey``; the status where it says none (``404``), None without an answer.

    A failed precondition is always ``412``, as only its status is the same for all operations.
    """
    answer = getattr(error, "response", None)
    if not isinstance(answer, dict) or "Error" not in answer:
        return None
    if answer.get("ResponseMetadata", {}).get("HTTPStatusCode") == 412:
        return CHANGED
    return str(answer["Error"].get("Code") or answer.get("ResponseMetadata", {}).get("HTTPStatusCode"))


def failure(error: Exception, where: str) -> CallsheetError:
    """The typed error for one of boto3's.

    Args:
        error: A ClientError or BotoCoreError.
        where: The object's address.
    """
    text = str(error)
    code = code_of(error)
    # To HEAD S3 answers with a status alone.
    head = getattr(error, "operation_name", "").startswith("Head")
    if isinstance(error, _CREDENTIALS_LOST) or code in _EXPIRED | _WRONG_KEYS or (head and code == "400"):
        return _no_credentials(where, text)
    if code in DENIED:
        return StorageError(
            f"{where}: {text}. Give this identity the rights that docs/deploy.md lists, then clear the task (without "
            "s3:ListBucket S3 answers so for what is not there, too"
            + ("; to this request also to wrong keys and to a wrong clock)" if head else ")"),
            reason="credentials",
        )
    if code == "NoSuchBucket":
        return no_bucket(where)
    if code in _OTHER_REGION or isinstance(error, boto.InvalidRegionError):
        return ConfigurationError(
            f"{where}: {text}. The bucket is in another region: set AWS_DEFAULT_REGION, or the connection's region_name"
        )
    if isinstance(error, (boto.ProfileNotFound, boto.ParamValidationError, boto.InvalidConfigError)):
        return ConfigurationError(f"{where}: {text}")
    if code == "RequestTimeTooSkewed":
        return StorageError(f"{where}: {text} Set this machine's clock (NTP).", reason="clock_skew")
    if code == CHANGED:
        return StorageError(f"{where} was replaced while it was read", reason="changed")
    if isinstance(error, boto.FlexibleChecksumError):
        return StorageError(f"{where} came with other bytes than were stored: {text}", reason="checksum")
    if code is None:
        return StorageError(f"{where}: S3 does not answer: {text}", reason="unreachable")
    return StorageError(f"{where}: {text}", reason=code)


def no_bucket(where: str) -> ConfigurationError:
    """The error for a bucket that does not exist."""
    return ConfigurationError(f"{where}: there is no such bucket; create it, or correct CALLSHEET_STORE_URI")


def _no_credentials(where: str, text: str) -> StorageError:
    return StorageError(
        f"{where}: {text}. This process has no valid credentials for S3: renew AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY (the workers' Secret), the connection CALLSHEET_AWS_CONN_ID or the role of the workload "
        "identity; the task's next attempt, or clearing it, goes on from there",
        reason="credentials",
    )
