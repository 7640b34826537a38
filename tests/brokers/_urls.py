"""Addresses with credentials, taken apart and put together."""

from urllib.parse import quote, unquote, urlsplit

USER = "brokerkit"
PASSWORD = "brokerkit-secret"
WRONG_PASSWORD = "not-the-password"


def with_wrong_password(url: str) -> str:
    """Return the URL with a password that no broker of the tests accepts; a user is put in where there is none."""
    parts = urlsplit(url)
    user = unquote(parts.username or "nobody")
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{quote(user, safe='')}:{WRONG_PASSWORD}@{host}").geturl()


def split_credentials(address: str) -> tuple[str, str, str]:
    """Split `user:password@host:port` into user, password and `host:port`; what is missing is empty."""
    credentials, _, host = address.rpartition("@")
    user, _, password = credentials.partition(":")
    return unquote(user), unquote(password), host
