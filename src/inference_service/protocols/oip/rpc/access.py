"""The same rule for gRPC as for HTTP (security/table.py): an interceptor of all calls.

A message is unpacked only for a client that may send it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import contextmanager
from typing import Any

import grpc

from inference_service.core.errors import Forbidden, InvalidInput
from inference_service.protocols.oip.rpc.caller import client_of
from inference_service.protocols.oip.rpc.service import status_of
from inference_service.security.authorizer import Access, Authorizer, current_access
from inference_service.security.credentials import presented
from inference_service.security.grants import Scope
from inference_service.security.quotas import Entry, Quotas
from inference_service.security.table import needed_by_rpc
from inference_service.security.tls import Certificates, InvalidCertificate

_NAMES = ("x509_subject_alternative_name", "x509_common_name")


class AccessInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc,unused-ignore]
    """Calls of clients that may make them. ``admin`` False: admins have a port of their own."""

    def __init__(
        self, authorizer: Authorizer | None, quotas: Quotas | None, *, admin: bool = True
    ) -> None:
        self._authorizer = authorizer
        self._quotas = quotas
        self._admin = admin

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """The handler of a call, behind the check."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or needed_by_rpc(method).scope is None:
            return handler
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._streaming(handler, method), None, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(handler, method), None, handler.response_serializer
        )

    def _unary(self, handler: Any, method: str) -> Any:
        async def answered(raw: bytes, context: Any) -> Any:
            entry = failed = request = None
            try:
                access, entry = await self._admitted(context, method, len(raw))
                request = _unpacked(handler, raw)
            except Exception as error:
                if entry is not None:
                    entry.leave()
                failed = status_of(error)
            try:
                if failed is not None:
                    await context.abort(*failed)
                with _within(access, entry):
                    return await handler.unary_unary(request, context)
            finally:
                del (
                    raw,
                    request,
                )  # what `abort` raises is never forgotten, nor is this frame: see `_answering`

        return answered

    def _streaming(self, handler: Any, method: str) -> Any:
        async def answered(raws: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
            try:
                access, entry = await self._admitted(context, method, 0)
            except Exception as error:
                await context.abort(*status_of(error))
                raise

            async def requests() -> AsyncIterator[Any]:
                async for raw in raws:
                    yield _unpacked(handler, raw)

            with _within(access, entry):
                async for answer in handler.stream_stream(requests(), context):
                    yield answer

        return answered

    async def _admitted(
        self, context: Any, method: str, size: int
    ) -> tuple[Access | None, Entry | None]:
        need = needed_by_rpc(method)
        if need.scope is Scope.ADMIN and not self._admin:
            raise Forbidden("this is answered over HTTP at the port for admins")
        access = None
        if self._authorizer is not None:
            headers = [
                (key.encode(), value if isinstance(value, bytes) else value.encode("latin-1"))
                for key, value in context.invocation_metadata() or ()
            ]
            given = presented(headers, _names(context))
            access = await self._authorizer.authorize(given, need)
        if self._quotas is None:
            return access, None
        entry = self._quotas.enter(client_of(context, access))
        try:
            entry.grow(size)
        except Exception:
            entry.leave()
            raise
        return access, entry


def server_credentials(certificates: Certificates) -> Any:
    """Credentials of the server that follow the files: looked at on each handshake."""
    served = certificates.version

    def changed() -> Any:
        nonlocal served
        if served == certificates.version:
            return None
        try:
            configuration = _configuration(certificates)
        except OSError:
            return None
        served = certificates.version
        return configuration

    try:
        configuration = _configuration(certificates)
    except OSError as error:
        raise InvalidCertificate(f"a certificate can't be read: {error.strerror}") from None
    return grpc.dynamic_ssl_server_credentials(
        configuration, changed, require_client_authentication=certificates.required
    )


def _configuration(certificates: Certificates) -> Any:
    key, chain, authority = certificates.pem()
    return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=authority)


@contextmanager
def _within(access: Access | None, entry: Entry | None) -> Any:
    context = current_access.set(access)
    try:
        yield
    finally:
        current_access.reset(context)
        if entry is not None:
            entry.leave()


def _unpacked(handler: Any, raw: bytes) -> Any:
    if handler.request_deserializer is None:  # the handler unpacks it itself
        return raw
    try:
        return handler.request_deserializer(raw)
    except Exception:
        raise InvalidInput("the message can't be unpacked") from None


def _names(context: Any) -> list[str]:
    found = context.auth_context() or {}
    return [value.decode("utf-8", "replace") for name in _NAMES for value in found.get(name, ())]
