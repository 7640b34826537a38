"""Writes the certificate authorities this machine trusts into a file that Java reads: `_truststore.py BUNDLE TARGET`.

Debian's Java trusts the authorities of Debian's package alone, so behind a proxy that signs with its own authority
Maven fails where pip and curl do not. The format is the keystore of Java 1.2 ("JKS"), which every Java still reads:
a header, the certificates, and a SHA-1 digest over the password, a fixed phrase and all that came before.
"""

import hashlib
import re
import ssl
import struct
import sys
from pathlib import Path

PASSWORD = "changeit"
_MAGIC, _VERSION, _TRUSTED_CERTIFICATE = 0xFEEDFEED, 2, 2
_PEM = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def truststore(bundle: str) -> bytes:
    """Return the store that trusts each certificate of the PEM bundle."""
    certificates = [ssl.PEM_cert_to_DER_cert(pem) for pem in _PEM.findall(bundle)]
    store = struct.pack(">III", _MAGIC, _VERSION, len(certificates))
    for number, certificate in enumerate(certificates):
        made_at = 0
        store += struct.pack(">I", _TRUSTED_CERTIFICATE) + _text(f"authority{number}") + struct.pack(">Q", made_at)
        store += _text("X.509") + struct.pack(">I", len(certificate)) + certificate
    return store + hashlib.sha1(PASSWORD.encode("utf-16-be") + b"Mighty Aphrodite" + store).digest()


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(truststore(Path(sys.argv[1]).read_text()))
