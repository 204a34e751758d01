"""``models.lock``: the SHA-256 of every file that a model is made of, and a signature of it.

The file lies in the repository's folder and has the lines of ``sha256sum``, so ``sha256sum -c
models.lock`` checks it, too. ``models.lock.sig`` is an Ed25519 signature (RFC 8032) of its bytes,
in base64. A model whose files differ from it is not loaded.
"""

import base64
import binascii
import hashlib
import os
import re
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from inference_service.core.errors import InvalidModel
from inference_service.repository.files import check_file, read_small

LOCK_FILE = "models.lock"
SIGNATURE_FILE = "models.lock.sig"
_LARGEST = 16 * 2**20
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_PIECE = 2**20
_MOST_FILES = 100_000
_DEEPEST = 8


def digests(top: Path, root: Path | None = None, leave_out: Collection[str] = ()) -> dict[str, str]:
    """The SHA-256 of each file below a folder, by its path in it. Links may lead within ``root``.

    Hidden files, the lock's own, and the folders ``leave_out`` directly in it are left out. Raises
    InvalidModel for a file that lies elsewhere or can't be read.
    """
    found: dict[str, str] = {}
    root = (root or top).resolve()
    for folder, folders, files in os.walk(top, followlinks=True):
        if not Path(folder).resolve().is_relative_to(root):
            raise InvalidModel(f"{Path(folder).name} is a symbolic link out of the repository")
        if len(Path(folder).relative_to(top).parts) > _DEEPEST:
            raise InvalidModel(
                f"folders are more than {_DEEPEST} deep: a link may lead in a circle"
            )
        left_out = leave_out if Path(folder) == top else ()
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in left_out
        )
        for name in sorted(files):
            path = Path(folder, name)
            if name.startswith(".") or name in {LOCK_FILE, SIGNATURE_FILE}:
                continue
            if len(found) >= _MOST_FILES:
                raise InvalidModel(f"there are more than {_MOST_FILES} files")
            found[str(path.relative_to(top))] = digest(path, root)
    return found


def digest(path: Path, root: Path) -> str:
    """The SHA-256 of a file within ``root``. Raises InvalidModel."""
    check_file(path, root)
    total = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                total.update(piece)
    except OSError as error:
        raise InvalidModel(f"{path.name} can't be read: {error.strerror}") from None
    return total.hexdigest()


def rendered(found: Mapping[str, str]) -> bytes:
    """The lock's text. Raises InvalidModel for a name with a line break."""
    for name in found:
        if "\n" in name or "\\" in name:
            raise InvalidModel("a file's name has a line break or a backslash")
    lines = (f"{digest}  {name}\n" for name, digest in sorted(found.items()))
    return "".join(lines).encode("utf-8", "surrogateescape")


def read_lock(root: Path, public_key: bytes | None = None) -> dict[str, str] | None:
    """The digests that are locked; None where there is no lock.

    With a ``public_key`` (PEM, Ed25519) the signature must be right. Raises InvalidModel.
    """
    content = read_small(root / LOCK_FILE, _LARGEST)
    if content is None:
        return None
    if public_key is not None:
        signature = read_small(root / SIGNATURE_FILE, 4096)
        if signature is None:
            raise InvalidModel(f"there is no {SIGNATURE_FILE}, and repository.public_key is set")
        _verify(content, signature, public_key)
    locked = {}
    for number, line in enumerate(content.decode("utf-8", "surrogateescape").splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise InvalidModel(f"{LOCK_FILE}: line {number} is no line of sha256sum")
        locked[match[2]] = match[1]
    return locked


def check_model(
    folder: Path, root: Path, locked: Mapping[str, str], other_versions: Collection[str] = ()
) -> None:
    """Raises InvalidModel unless the files of a model are the locked ones and no others.

    ``folder`` may be an .onnx file. The folders of its ``other_versions`` are not looked at.
    """
    same = folder.resolve() == root.resolve()
    prefix = "." if same else str(folder.absolute().relative_to(root.absolute()))
    if folder.is_dir():
        own = "" if prefix == "." else prefix + "/"
        skipped = tuple(f"{own}{version}/" for version in other_versions)
        found = {own + name: value for name, value in digests(folder, root, other_versions).items()}
        expected = {
            name: value
            for name, value in locked.items()
            if name.startswith(own) and not (skipped and name.startswith(skipped))
        }
    else:
        found = {prefix: digest(folder, root.resolve())}
        expected = {name: value for name, value in locked.items() if name == prefix}
    for name in sorted(found.keys() | expected.keys()):
        short = Path(name).name
        if name not in expected:
            raise InvalidModel(f"{short} is not in {LOCK_FILE}: run inference-service lock")
        if name not in found:
            raise InvalidModel(f"{short} is in {LOCK_FILE}, and is missing")
        if found[name] != expected[name]:
            raise InvalidModel(f"{short} is not the file of {LOCK_FILE}: its SHA-256 differs")


def sign(content: bytes, private_key: bytes) -> bytes:
    """The signature of a lock, in base64. Raises InvalidModel for a key that is no Ed25519."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(private_key, None)
    except (ValueError, TypeError):
        raise InvalidModel("the key is no PEM file of a private key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidModel("the key is not an Ed25519 key")
    return base64.b64encode(key.sign(content)) + b"\n"


def _verify(content: bytes, signature: bytes, public_key: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(public_key)
    except ValueError:
        raise InvalidModel("repository.public_key is no PEM file of a public key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidModel("repository.public_key is not an Ed25519 key")
    try:
        key.verify(base64.b64decode(signature.strip(), validate=True), content)
    except (InvalidSignature, binascii.Error, ValueError):
        raise InvalidModel(f"{SIGNATURE_FILE} is no signature of {LOCK_FILE} by this key") from None


def write(path: Path, content: bytes) -> None:
    """Replace a file at once. Raises InvalidModel."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
        Path(name).replace(path)
    except OSError as error:
        raise InvalidModel(f"{path.name} can't be written: {error.strerror}") from None
