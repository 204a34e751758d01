"""A Terraform provider that knows a schema and nothing else: for `terraform validate` and `terraform test`.

Terraform asks a provider for its schema and checks configurations against it. The real providers can't
be had everywhere; their schemas can (read_schemas.py). With ``mock_provider`` in a test Terraform makes
up the values of resources itself, so no provider has to plan or apply anything.

The protocol: https://developer.hashicorp.com/terraform/plugin/terraform-plugin-protocol (version 6),
and HashiCorp's go-plugin below it: a line on stdout says where gRPC listens, with a certificate.
Usage: provider.py SCHEMA.json
"""

import base64
import datetime
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NESTING = {"single": 1, "list": 2, "set": 3, "map": 4}


def number(field: int, value: int) -> bytes:
    """A varint field of Protocol Buffers; zero is left out, as proto3 does."""
    return varint(field << 3) + varint(value) if value else b""


def content(field: int, value: bytes | str) -> bytes:
    """A field of bytes, text or a message."""
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def attribute(name: str, kind: Any, mode: str) -> bytes:
    """Schema.Attribute: name, type, required, optional, computed. What is optional is computed, too:
    the packages don't tell, and Terraform then allows the values that are unknown until it applies."""
    optional = mode == "optional"
    modes = (
        number(4, mode == "required")
        + number(5, optional)
        + number(6, optional or mode == "computed")
    )
    return content(1, name) + content(2, json.dumps(kind)) + modes


def block(schema: dict[str, Any]) -> bytes:
    """Schema.Block."""
    out = b"".join(content(2, attribute(n, *a)) for n, a in schema["attributes"].items())
    for name, nested in schema["blocks"].items():
        sizes = number(4, nested["min"]) + number(5, nested["max"])
        inner = content(2, block(nested["block"])) + number(3, NESTING[nested["nesting"]])
        out += content(3, content(1, name) + inner + sizes)
    return out


def whole(schemas: dict[str, Any]) -> bytes:
    """GetProviderSchema.Response: the provider's schema and those of its resources and data sources."""

    def entry(field: int, name: str, schema: dict[str, Any]) -> bytes:
        return content(field, content(1, name) + content(2, content(2, block(schema))))

    out = content(1, content(2, block(schemas["provider"])))
    out += b"".join(entry(2, *item) for item in schemas["resources"].items())
    return out + b"".join(entry(3, *item) for item in schemas["data"].items())


class Answers(grpc.GenericRpcHandler):
    """The schema, and "no objection" to everything else: an empty message has no diagnostics."""

    def __init__(self, schema: bytes, stopped: threading.Event) -> None:
        self._schema, self._stopped = schema, stopped

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The handler of a method."""
        if call.method.endswith("/StreamStdio"):
            return None

        def answer(_request: bytes, _context: grpc.ServicerContext) -> bytes:
            if call.method.endswith("/Shutdown"):
                self._stopped.set()
            return self._schema if call.method.endswith("/GetProviderSchema") else b""

        return grpc.unary_unary_rpc_method_handler(answer)


def certificate() -> tuple[bytes, bytes, bytes]:
    """A key and a certificate for localhost, both as PEM, and the certificate as DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    encoding = serialization.Encoding
    return pem, made.public_bytes(encoding.PEM), made.public_bytes(encoding.DER)


def main(path: Path) -> None:
    stopped = threading.Event()
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Answers(whole(json.loads(path.read_text())), stopped),))
    key, pem, der = certificate()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, pem)]))
    server.start()
    told = base64.b64encode(der).decode().rstrip("=")
    print(f"1|6|tcp|127.0.0.1:{port}|grpc|{told}", flush=True)
    stopped.wait(300)
    server.stop(None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
