"""The API server: HTTP, authentication, the resources' verbs, watches and logs.

``with kube_server(folder) as kube:`` serves on a free port of this machine what the path of a worker's pod needs: pods,
their logs, events and nodes. It answers as contract.yaml says that the real server does.
"""

from __future__ import annotations

import contextlib
import hmac
import io
import json
import random
import re
import secrets
import select
import socket
import struct
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, ClassVar, NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.kube import admission
from tests.kube.admission import PriorityClass, Registered
from tests.kube.cluster import Cluster, Node
from tests.kube.container import Process, require_bubblewrap
from tests.kube.faults import ApiFault, ApiFaultKind, Faults, PodFault
from tests.kube.policies import Policies
from tests.kube.selectors import field_selector, label_selector, parse_time, seconds_text, utc_now
from tests.kube.status import (
    KINDS,
    ApiError,
    Causes,
    bad_request,
    conflict,
    forbidden,
    invalid,
    no_such_path,
    not_found,
)
from tests.kube.storage import Change, Item, Storage

VERSION = {"major": "1", "minor": "34", "gitVersion": "v1.34.2", "platform": "linux/amd64"}
ACCEPTED = ("application/json", "application/*", "*/*")
LONGEST_WATCH_S = 1800.0
LOOK_EVERY_S = 0.5
"""How often an idle stream looks whether its reader is still there."""


class Kube:
    """A running stand-in: what a test asks it and does to it."""

    def __init__(
        self,
        folder: Path,
        *,
        nodes: Iterable[Node],
        faults: Faults,
        registered: Registered,
        policies: Policies,
        seed: int,
        **cluster: Any,
    ) -> None:
        self.folder = folder
        self.faults = faults
        self.registered = registered
        self.policies = policies
        self.storage = Storage()
        self.token = secrets.token_urlsafe(24)
        self.denied: set[tuple[str, str]] = set()
        """(verb, resource) that the account's role lacks, e.g. ``("list", "nodes")``."""
        self.counts: Counter[tuple[str, str]] = Counter()
        """Requests by (verb, resource): ``("create", "pods")``, ``("watch", "events")``."""
        self.answers: deque[tuple[str, str, int]] = deque(maxlen=10_000)
        """(method, path and query, status) of the latest requests."""
        self.warnings: list[str] = []
        """What was sent in Warning headers: fields that the server does not know."""
        self.dice = random.Random(seed)
        self.url = ""
        self.closing = threading.Event()
        self.cluster = Cluster(self.storage, folder=folder, faults=faults, registered=registered, **cluster)
        for node in nodes:
            self.add_node(node)

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig file with the address and the token."""
        return self.folder / "kubeconfig"

    def add_node(self, node: Node) -> None:
        """A node joins, or changes what it offers."""
        with self.storage.changed:
            try:
                item = node.to_item()
                item["metadata"] = {
                    **self.storage.get("nodes", "", node.name)["metadata"],
                    "labels": item["metadata"]["labels"],
                }
                self.storage.update("nodes", "", node.name, lambda draft: item)
            except ApiError:
                self.storage.create("nodes", node.to_item())

    def remove_node(self, name: str) -> None:
        """The node is gone, and its pods are lost with it."""
        self.storage.delete("nodes", "", name)

    def add_secret(self, name: str, values: Mapping[str, str], namespace: str = "callsheet-workers") -> None:
        self.registered.secrets[namespace, name] = dict(values)

    def pods(self, namespace: str | None = None) -> list[Item]:
        """The pods as they are now, as JSON."""
        return self.storage.list("pods", namespace)[0]

    def processes(self) -> list[int]:
        """What contains a container that still runs: its end is the container's."""
        found = [process for run in list(self.cluster.runs.values()) for process in list(run.processes.values())]
        return [each.pid for each in found if each.finished_at is None]

    def write_kubeconfig(self) -> None:
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "stand-in", "cluster": {"server": self.url}}],
            "users": [{"name": "airflow", "user": {"token": self.token}}],
            "contexts": [{"name": "stand-in", "context": {"cluster": "stand-in", "user": "airflow"}}],
            "current-context": "stand-in",
        }
        self.kubeconfig.write_text(yaml.safe_dump(document))
        self.kubeconfig.chmod(0o600)


@contextlib.contextmanager
def kube_server(
    folder: Path,
    *,
    nodes: Iterable[Node] = (Node(),),
    env: Mapping[str, str] | None = None,
    entrypoint: tuple[str, ...] = (),
    faults: Iterable[PodFault | ApiFault] = (),
    namespaces: Iterable[str] = ("default", "callsheet-workers"),
    service_accounts: Iterable[str] = ("callsheet-worker",),
    priority_classes: Mapping[str, PriorityClass | int] | None = None,
    secrets_: Mapping[str, Mapping[str, str]] | None = None,
    manifests: Iterable[Path] = (),
    seed: int = 0,
    image: Iterable[Path] = (),
) -> Iterator[Kube]:
    """A running stand-in; every process of its pods is gone afterwards.

    Args:
        folder: Home of kubeconfig, volumes and logs.
        nodes: The cluster's machines; ``kube.add_node`` adds more.
        env: The image's environment: pods' own variables come on top.
        entrypoint: The image's: runs where a container gives no command.
        faults: Planted from the start; ``kube.faults`` takes more.
        namespaces: The namespaces there are.
        service_accounts: In each namespace, beside ``default``.
        priority_classes: Value by name.
        secrets_: In each namespace, by name.
        seed: Of generated names and of faults that come at a rate.
        manifests: Files with namespaces (and their pod security), service accounts, priority classes, quotas, limit
            ranges and roles; with any role, the account may only what its own allow.
        image: Folders of this machine that pods find in their image, besides programs and the project.
    """
    require_bubblewrap()
    folder.mkdir(parents=True, exist_ok=True)
    policies = Policies(manifests)
    laid_down = policies.items
    where = {*namespaces, *(item["metadata"]["name"] for item in laid_down["Namespace"])}
    registered = Registered(
        namespaces=where,
        service_accounts={
            *((each, name) for each in where for name in ("default", *service_accounts)),
            *((item["metadata"]["namespace"], item["metadata"]["name"]) for item in laid_down["ServiceAccount"]),
        },
        priority_classes={
            "system-cluster-critical": PriorityClass(value=2_000_000_000),
            **{
                item["metadata"]["name"]: PriorityClass(
                    value=item["value"], preemption=item.get("preemptionPolicy", "PreemptLowerPriority")
                )
                for item in laid_down["PriorityClass"]
            },
            **{
                name: PriorityClass(value=given) if isinstance(given, int) else given
                for name, given in (priority_classes or {}).items()
            },
        },
        secrets={(each, name): values for each in where for name, values in (secrets_ or {}).items()},
    )
    kube = Kube(
        folder,
        nodes=nodes,
        faults=Faults(faults, seed),
        registered=registered,
        policies=policies,
        seed=seed,
        env=env or {},
        entrypoint=entrypoint,
        image=image,
    )
    handler = type("BoundHandler", (Handler,), {"kube": kube})
    with _Server(("127.0.0.1", 0), handler) as server:
        kube.url = f"http://127.0.0.1:{server.server_address[1]}"
        kube.write_kubeconfig()
        kube.cluster.start()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield kube
        finally:
            kube.closing.set()
            kube.cluster.close()
            server.shutdown()
            thread.join()
    if kube.cluster.errors:
        raise ExceptionGroup("the stand-in itself failed", list(kube.cluster.errors))  # type: ignore[type-var]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that went away is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    kube: Kube
    protocol_version = "HTTP/1.1"
    # Otherwise small answers wait for the reader's delayed acknowledgement.
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_GET  # noqa: N815  # http.server's names

    def _serve(self) -> None:
        split = urlsplit(self.path)
        self.where, self.query = unquote(split.path), Query(split.query)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.sent: list[str] = []
        self.cut = False
        try:
            verb = self._verb()
            kind, fault, latency = self.kube.faults.of_request(verb, self.where)
            if latency:
                self.kube.closing.wait(latency)
            if kind and kind not in ("lost_answer", "cut"):
                self._fail(kind, fault)
                return
            if kind == "lost_answer":
                self._lose_answer()
                return
            self.cut = kind == "cut"
            self._answer()
        except ApiError as error:
            self._refuse(error)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception as error:
            # The stand-in's own mistake, whatever it was that the client asked.
            self.kube.cluster.errors.append(error)
            self._refuse(ApiError(500, f"Internal error occurred: the stand-in failed: {error!r}"))

    def _answer(self) -> None:
        self._authenticate()
        self._negotiate()
        Api(self.kube, self).dispatch()

    def _verb(self) -> str:
        if self.command == "GET" and self.where.endswith("/log"):
            return "LOG"
        if self.command == "GET" and self.query.flag("watch"):
            return "WATCH"
        collection = re.fullmatch(r"/api/v1/(namespaces/[^/]+/)?[a-z]+", self.where)
        return "LIST" if self.command == "GET" and collection else self.command

    def _authenticate(self) -> None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip(), self.kube.token):
            raise ApiError(401, "Unauthorized")

    def _negotiate(self) -> None:
        accepted = [each.split(";")[0].strip() for each in (self.headers.get("Accept") or "*/*").split(",")]
        if not self.where.endswith("/log") and not any(each in ACCEPTED for each in accepted):
            raise ApiError(
                406,
                "only the following media types are accepted: application/json, application/yaml, "
                "application/vnd.kubernetes.protobuf",
            )

    # Answers

    def _json(self, code: int, document: Any, headers: Mapping[str, str] | None = None) -> None:
        indent = 2 if self.query.flag("pretty") else None
        self._send(code, json.dumps(document, indent=indent).encode() + b"\n", "application/json", headers)

    def _send(self, code: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None) -> None:
        self._note(code)
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-cache, private")
        for warning in self.sent:
            escaped = warning.replace("\\", "\\\\").replace('"', '\\"')
            self.send_header("Warning", f'299 - "{escaped}"')
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, error: ApiError) -> None:
        headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        self._json(error.code, error.status, headers)

    def _note(self, code: int) -> None:
        self.kube.answers.append((self.command, self.path, code))

    def open_stream(self, content_type: str) -> None:
        """Begin a chunked answer."""
        self._note(200)
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Cache-Control", "no-cache, private")
        self.end_headers()

    def stream(self, data: bytes) -> None:
        """One piece of a chunked answer, at once."""
        if not data:
            return
        if self.cut and len(data) > 1:
            data = data[: len(data) // 2]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.reset()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def close_stream(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def reader_is_gone(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    # Planted faults

    def _fail(self, kind: ApiFaultKind, fault: ApiFault) -> None:
        if kind == "401":
            raise ApiError(401, "Unauthorized")
        if kind == "500":
            raise ApiError(500, "Internal error occurred: etcdserver: leader changed")
        if kind == "503":
            raise ApiError(503, "the server is currently unable to handle the request")
        if kind == "429":
            raise ApiError(
                429,
                "Too many requests, please try again later.",
                retry_after_s=fault.retry_after_s,
            )
        if kind == "timeout":
            self.kube.closing.wait(fault.hang_s)
        self.reset()

    def _lose_answer(self) -> None:
        """Carry the request out into a buffer that nobody reads."""
        real, self.wfile = self.wfile, io.BytesIO()  # type: ignore[assignment]
        try:
            with contextlib.suppress(ApiError):
                self._answer()
        finally:
            self.wfile = real
        self.reset()

    def reset(self) -> NoReturn:
        """Close the connection as a crash does: the other side gets a reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        raise ConnectionResetError


class Query:
    """A request's parameters."""

    def __init__(self, text: str) -> None:
        self._values = parse_qs(text, keep_blank_values=True)

    def get(self, name: str) -> str:
        return self._values.get(name, [""])[0]

    def flag(self, name: str) -> bool:
        value = self.get(name)
        if value.lower() not in ("", "true", "false", "1", "0", "t", "f"):
            raise bad_request(f'strconv.ParseBool: parsing "{value}": invalid syntax')
        return value.lower() in ("true", "1", "t")

    def number(self, name: str) -> int | None:
        value = self.get(name)
        if not value:
            return None
        if not re.fullmatch(r"[+-]?\d+", value):
            raise bad_request(f'unable to convert "{name}": strconv.ParseInt: parsing "{value}": invalid syntax')
        return int(value)


class Api:
    """What the resources' verbs do."""

    def __init__(self, kube: Kube, handler: Handler) -> None:
        self.kube, self.http, self.query = kube, handler, handler.query
        self.storage = kube.storage

    def dispatch(self) -> None:
        """Find the resource and the verb, look whether the account may, and answer."""
        found = re.fullmatch(r"/api/v1(?:/namespaces/([^/]+))?/([a-z]+)(?:/([^/]+)(?:/([a-z]+))?)?", self.http.where)
        if not found:
            raise no_such_path()
        namespace, resource, name, part = found.groups()
        verb = self._verb(name)
        self._allow(verb, f"{resource}/{part}" if part else resource, namespace, name or "")
        if (resource, part, verb) == ("pods", "log", "get") and namespace and name:
            self._log(namespace, name)
        elif part or resource not in ("pods", "events", "nodes"):
            raise no_such_path()
        elif verb in ("get", "list", "watch"):
            self._read(verb, resource, namespace, name)
        elif resource == "pods" and namespace and (verb == "create" or name) and verb in self.CHANGES:
            self.CHANGES[verb](self, namespace, name or "")
        else:
            raise ApiError(405, "the server does not allow this method on the requested resource", details={})

    def _verb(self, name: str | None) -> str:
        """What the account does, in the words of a role."""
        if self.http.command == "GET":
            return "get" if name else "watch" if self.query.flag("watch") else "list"
        if self.http.command == "DELETE" and not name:
            return "deletecollection"
        return {"POST": "create", "PUT": "update"}.get(self.http.command, self.http.command.lower())

    def _allow(self, verb: str, resource: str, namespace: str | None, name: str = "") -> None:
        """Count the request and refuse what the role lacks."""
        self.kube.counts[verb, resource] += 1
        found = re.fullmatch(r"metadata\.name==?([^,=]+)", self.query.get("fieldSelector"))
        named = name or (found[1] if found else "")
        if (verb, resource) in self.kube.denied or not self.kube.policies.allows(verb, resource, namespace, named):
            scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
            who = self.kube.policies.user
            why = f'User "{who}" cannot {verb} resource "{resource}" in API group "" {scope}'
            raise forbidden(resource, name, why)

    # Reading

    def _read(self, verb: str, resource: str, namespace: str | None, name: str | None) -> None:
        if name is not None:
            self.http._json(200, self.storage.get(resource, namespace or "", name))
        elif verb == "watch":
            self._watch(resource, namespace)
        else:
            self._list(resource, namespace)

    def _matching(self, resource: str) -> Any:
        labels = label_selector(self.query.get("labelSelector"))
        fields = field_selector(self.query.get("fieldSelector"), resource)
        return lambda item: labels(item) and fields(item)

    def _version_asked(self) -> int | None:
        text = self.query.get("resourceVersion")
        if text and not text.isdigit():
            raise ApiError(
                400, f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
            )
        return int(text) if text else None

    def _list(self, resource: str, namespace: str | None) -> None:
        matches, asked = self._matching(resource), self._version_asked()
        items, version = self.storage.list(resource, namespace)
        if asked is not None and asked > version:
            raise ApiError(
                504,
                f"Too large resource version: {asked}, current: {version}",
                details={"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]},
                retry_after_s=1,
            )
        # The items of a list carry no kind of their own.
        bare = [
            {name: value for name, value in item.items() if name not in ("kind", "apiVersion")}
            for item in items
            if matches(item)
        ]
        metadata = {"resourceVersion": str(version)}
        self.http._json(
            200, {"kind": f"{KINDS[resource]}List", "apiVersion": "v1", "metadata": metadata, "items": bare}
        )

    def _watch(self, resource: str, namespace: str | None) -> None:
        matches, asked = self._matching(resource), self._version_asked()
        asked_s = self.query.number("timeoutSeconds")
        end = time.monotonic() + (min(asked_s, LONGEST_WATCH_S) if asked_s else LONGEST_WATCH_S)

        def within(item: Item) -> bool:
            return namespace in (None, item["metadata"].get("namespace", "")) and matches(item)

        self.http.open_stream("application/json")
        seen = asked or self._initial_events(resource, within)
        while not self.kube.closing.is_set():
            changes, current = self._wait_for_changes(resource, seen, end)
            if changes is None:
                error = ApiError(410, f"too old resource version: {seen} ({self.storage.forgotten})")
                self._event("ERROR", error.status)
                break
            for change in changes:
                if event := _seen_through(change, within):
                    self._event(*event)
            seen = max(seen, current)
            if time.monotonic() >= end or self.http.reader_is_gone():
                break
        self.http.close_stream()

    def _initial_events(self, resource: str, within: Callable[[Item], bool]) -> int:
        """Without a version to begin from, a watch begins with what there is."""
        items, seen = self.storage.list(resource)
        for item in items:
            if within(item):
                self._event("ADDED", item)
        return seen

    def _wait_for_changes(self, resource: str, seen: int, end: float) -> tuple[list[Change] | None, int]:
        """Changes after ``seen``, or none after a while; None where they are forgotten."""
        with self.storage.changed:
            try:
                changes = self.storage.since(resource, seen)
                if not changes:
                    self.storage.changed.wait(max(0.0, min(LOOK_EVERY_S, end - time.monotonic())))
                    changes = self.storage.since(resource, seen)
            except ApiError:
                return None, seen
            return changes, self.storage.version

    def _event(self, kind: str, item: Item) -> None:
        self.http.stream(json.dumps({"type": kind, "object": item}).encode() + b"\n")

    # Changing

    def _document(self, allowed: tuple[str, ...] = ("application/json",)) -> str:
        given = (self.http.headers.get("Content-Type") or "").split(";")[0].strip().lower()
        if given not in allowed and not (given == "" and "application/json" in allowed):
            raise ApiError(
                415,
                "the body of the request was in an unknown format - accepted media types include: "
                + ", ".join(allowed),
            )
        return given

    def _field_validation(self) -> str:
        value = self.query.get("fieldValidation") or "Warn"
        if value not in ("Ignore", "Warn", "Strict"):
            causes = Causes()
            causes.one_of("fieldValidation", value, ["", "Ignore", "Warn", "Strict"])
            raise invalid("CreateOptions", "", causes)
        return value

    def _dry_run(self) -> bool:
        value = self.query.get("dryRun")
        if value not in ("", "All"):
            causes = Causes()
            causes.one_of("dryRun", value, ["All"])
            raise invalid("CreateOptions", "", causes)
        return value == "All"

    def _warn(self, warnings: list[str]) -> None:
        self.http.sent += warnings
        self.kube.warnings += warnings

    def _create(self, namespace: str, _: str) -> None:
        self._document()
        warnings: list[str] = []
        pod = admission.decode(self.http.body, field_validation=self._field_validation(), warnings=warnings)
        if namespace not in self.kube.registered.namespaces:
            raise not_found("namespaces", namespace)
        pod = admission.admit(
            pod,
            namespace=namespace,
            registered=self.kube.registered,
            policies=self.kube.policies,
            dice=self.kube.dice,
        )
        self._warn(warnings)
        with self.storage.changed:
            self.kube.policies.check_quota(pod, self.storage.list("pods", namespace)[0])
            if not self._dry_run():
                pod = self.storage.create("pods", pod)
        self.http._json(201, pod)

    def _patch(self, namespace: str, name: str) -> None:
        """Both kinds of merge: of what the path patches, labels and finalizers, they make the same."""
        self._document(("application/merge-patch+json", "application/strategic-merge-patch+json"))
        try:
            patch = json.loads(self.http.body)
        except ValueError as error:
            raise bad_request(f"error decoding patch: {error}") from None
        if not isinstance(patch, dict) or set(patch) - {"metadata"}:
            raise bad_request("this stand-in patches metadata alone")
        mode, warnings = self._field_validation(), list[str]()

        def change(before: Item) -> Item:
            after = admission.conform(merge_patch(before, patch), field_validation=mode, warnings=warnings)
            if after["metadata"].get("resourceVersion") not in (None, before["metadata"]["resourceVersion"]):
                raise conflict(
                    "pods",
                    name,
                    "the object has been modified; please apply your changes to the latest version and try again",
                )
            return admission.admit_update(before, after)

        with self.storage.changed:
            pod = self.storage.update("pods", namespace, name, change)
            if pod["metadata"].get("deletionTimestamp") and pod["metadata"].get("deletionGracePeriodSeconds") == 0:
                self._remove_unless_held(pod)
        self._warn(warnings)
        self.http._json(200, pod)

    # Deleting

    def _delete_options(self) -> Item:
        options: Item = {}
        if self.http.body.strip():
            self._document()
            given = admission.decode(self.http.body, field_validation="Strict", warnings=[], kind="DeleteOptions")
            options.update(given)
        if (grace := self.query.number("gracePeriodSeconds")) is not None and not self.http.body.strip():
            options["gracePeriodSeconds"] = grace
        if (options.get("gracePeriodSeconds") or 0) < 0:
            causes = Causes()
            causes.invalid("gracePeriodSeconds", options["gracePeriodSeconds"], "must be greater than or equal to 0")
            raise invalid("DeleteOptions", "", causes)
        policy = options.get("propagationPolicy") or self.query.get("propagationPolicy")
        if policy not in (None, "", "Orphan", "Background", "Foreground"):
            causes = Causes()
            causes.one_of("propagationPolicy", policy, ["Foreground", "Background", "Orphan"])
            raise invalid("DeleteOptions", "", causes)
        return options

    def _delete(self, namespace: str, name: str) -> None:
        options = self._delete_options()
        with self.storage.changed:
            pod = self.storage.get("pods", namespace, name)
            wanted = options.get("preconditions") or {}
            for key in ("uid", "resourceVersion"):
                if wanted.get(key) not in (None, "", pod["metadata"][key]):
                    label = {"uid": "UID", "resourceVersion": "ResourceVersion"}[key]
                    raise conflict(
                        "pods",
                        name,
                        f"Precondition failed: {label} in precondition: {wanted[key]}, {label} in object meta: "
                        f"{pod['metadata'][key]}",
                    )
            pod = self._end(pod, options.get("gracePeriodSeconds"))
        self.http._json(200, pod)

    def _end(self, pod: Item, grace_s: int | None) -> Item:
        """Ask for a pod's end; it is gone at once where nothing of it can run."""
        metadata, spec = pod["metadata"], pod["spec"]
        grace = spec["terminationGracePeriodSeconds"] if grace_s is None else grace_s
        if not spec.get("nodeName") or pod["status"]["phase"] in ("Succeeded", "Failed"):
            grace = 0
        if metadata.get("deletionTimestamp"):
            # The wait may only become shorter.
            grace = min(grace, metadata["deletionGracePeriodSeconds"])

        def change(draft: Item) -> None:
            when = seconds_text(utc_now() + timedelta(seconds=grace))
            if metadata.get("deletionGracePeriodSeconds") != grace:
                draft["metadata"]["deletionTimestamp"] = when
                draft["metadata"]["deletionGracePeriodSeconds"] = grace

        pod = self.storage.update("pods", metadata["namespace"], metadata["name"], change)
        if grace == 0:
            self._remove_unless_held(pod)
        return pod

    def _remove_unless_held(self, pod: Item) -> None:
        if not pod["metadata"].get("finalizers"):
            self.storage.delete("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])

    # Logs

    def _log(self, namespace: str, name: str) -> None:
        pod = self.storage.get("pods", namespace, name)
        since, tail, stamps, limit = self._log_options(name)
        container = self._container_asked(pod)
        if not pod["spec"].get("nodeName"):
            self.http._send(200, b"", "text/plain")
            return
        run = self.kube.cluster.runs.get(pod["metadata"]["uid"])
        if run and run.unreachable:
            raise ApiError(
                500,
                f'Get "https://10.0.0.1:10250/containerLogs/{namespace}/{name}/{container}": dial tcp 10.0.0.1:10250: '
                "i/o timeout",
            )
        if self.query.flag("previous"):
            raise bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
        process = run.processes.get(container) if run else None
        if process is None:
            raise bad_request(f'container "{container}" in pod "{name}" is {_waiting(pod, container)}')
        with process.log.open("rb") as file:
            reader = LogReader(file, since=since, tail=tail, timestamps=stamps, limit=limit)
            if self.query.flag("follow"):
                self._follow(process, reader)
            else:
                self.http._send(200, reader.read(), "text/plain")

    def _follow(self, process: Process, reader: LogReader) -> None:
        self.http.open_stream("text/plain")
        while not self.kube.closing.is_set():
            # Whether it had ended is asked before reading, so that nothing is written after the last read.
            ended = process.ended.is_set()
            self.http.stream(reader.read())
            if ended or reader.full or self.http.reader_is_gone():
                break
            process.ended.wait(0.05)
        self.http.close_stream()

    def _log_options(self, name: str) -> tuple[Any, int | None, bool, int | None]:
        causes = Causes()
        seconds, tail, limit = (self.query.number(each) for each in ("sinceSeconds", "tailLines", "limitBytes"))
        moment = self.query.get("sinceTime")
        if seconds is not None and moment:
            causes.forbidden("sinceSeconds", "at most one of `sinceTime` or `sinceSeconds` may be specified")
        if seconds is not None and seconds < 1:
            causes.invalid("sinceSeconds", seconds, "must be greater than 0")
        if tail is not None and tail < 0:
            causes.invalid("tailLines", tail, "must be greater than or equal to 0")
        if limit is not None and limit < 1:
            causes.invalid("limitBytes", limit, "must be greater than 0")
        if causes:
            raise invalid("PodLogOptions", name, causes)
        try:
            since = parse_time(moment) if moment else None
        except ValueError as error:
            raise bad_request(str(error)) from None
        if seconds is not None:
            since = utc_now() - timedelta(seconds=seconds)
        return since, tail, self.query.flag("timestamps"), limit

    def _container_asked(self, pod: Item) -> str:
        name, spec = pod["metadata"]["name"], pod["spec"]
        asked = self.query.get("container")
        main = [container["name"] for container in spec["containers"]]
        first = [container["name"] for container in spec.get("initContainers") or []]
        if not asked:
            if len(main) > 1 or first:
                init = f" or one of the init containers: [{' '.join(first)}]" if first else ""
                raise bad_request(
                    f"a container name must be specified for pod {name}, choose one of: [{' '.join(main)}]{init}"
                )
            return str(main[0])
        if asked not in main + first:
            raise bad_request(f"container {asked} is not valid for pod {name}")
        return asked

    CHANGES: ClassVar = {"create": _create, "patch": _patch, "delete": _delete}
    """What changes a pod, by verb."""


class LogReader:
    """Reads a container's log file on from where it stopped."""

    def __init__(self, file: IO[bytes], *, since: Any, tail: int | None, timestamps: bool, limit: int | None) -> None:
        self._file = file
        self._since, self._tail, self._timestamps, self._left = since, tail, timestamps, limit
        self._rest = b""
        self._line_begins = True

    @property
    def full(self) -> bool:
        return self._left == 0

    def read(self) -> bytes:
        """What is new, as whole lines of the file."""
        whole, newline, self._rest = (self._rest + self._file.read()).rpartition(b"\n")
        pieces: list[bytes] = []
        for line in whole.split(b"\n") if newline else []:
            stamp, _, tag, text = line.split(b" ", 3)
            if self._since and parse_time(stamp.decode()) < self._since:
                continue
            prefix = stamp + b" " if self._timestamps and self._line_begins else b""
            self._line_begins = tag == b"F"
            pieces.append(prefix + text + (b"\n" if self._line_begins else b""))
        if self._tail is not None:
            pieces = pieces[-self._tail :] if self._tail else []
            self._tail = None
        data = b"".join(pieces)
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        return data


def _seen_through(change: Change, matches: Any) -> tuple[str, Item] | None:
    """A change as a watcher with a selector sees it: what leaves the selection is deleted for it."""
    now = change.type != "DELETED" and matches(change.item)
    before = change.previous is not None and matches(change.previous)
    if now:
        return ("MODIFIED" if before else "ADDED"), change.item
    return ("DELETED", change.item) if before else None


def _waiting(pod: Item, container: str) -> str:
    for status in (*pod["status"].get("initContainerStatuses", []), *pod["status"].get("containerStatuses", [])):
        if status["name"] == container and "waiting" in status["state"]:
            reason = status["state"]["waiting"]["reason"]
            if reason in ("ErrImagePull", "ImagePullBackOff"):
                return "waiting to start: trying and failing to pull image"
            return f"waiting to start: {reason}"
    return "not available"


def merge_patch(item: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(item) if isinstance(item, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
