"""Addresses: what credentials are bound to, what is this machine, and where nobody may send us."""

from __future__ import annotations

import ipaddress
from urllib.parse import urljoin, urlsplit

from ci_plugin.errors import AnswerIsNo, Location

_METADATA_NAMES = frozenset({"metadata.google.internal", "instance-data.ec2.internal"})
"""Names of clouds' metadata services, which hand out credentials; by address they are link-local."""


def is_loopback(netloc: str) -> bool:
    """Whether ``host[:port]`` is localhost, 127.0.0.0/8 or ::1."""
    host = urlsplit(f"//{netloc}").hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_among(netloc: str, exempt: str) -> bool:
    """Whether one entry of NO_PROXY means this ``host[:port]``: a name and all below it, with or without a port, a network, or ``*``."""
    host, name = urlsplit(f"//{netloc}").hostname or "", exempt.lower().removeprefix("*").lstrip(".")
    if exempt == "*" or (name and any(text == name or text.endswith(f".{name}") for text in (host, netloc.lower()))):
        return True
    address = _address(host)
    try:
        return address is not None and address in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False


def is_private(host: str) -> bool:
    """Whether a host is, by its own spelling, not on the public internet: private, loopback, ``is_special``."""
    if is_loopback(_netloc(host)) or is_special(host):
        return True
    address = _address(host)
    return address is not None and not address.is_global


def is_special(host: str) -> bool:
    """Whether no server of anybody else can be there: link-local (metadata services), unspecified, multicast, or an odd spelling.

    2130706433, 0x7f.1 and 127.1 are addresses to some resolvers; a server that is meant to be found has a name or a plain address.
    """
    name = host.rstrip(".")
    address = _address(name)
    if address is not None:
        return name != host or address.is_link_local or address.is_unspecified or address.is_multicast
    is_odd = name.rpartition(".")[2].isdecimal() or "0x" in name or not name.isascii() or "%" in name
    return is_odd or name in _METADATA_NAMES or name.endswith(".localhost") or (name == "localhost" and name != host)


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port with its default: what credentials are bound to (RFC 6454).

    Raises ValueError for what has blanks or control characters in it: parsers differ in what they make of them (CVE-2023-24329).
    """
    if any(character <= " " or character == "\x7f" for character in url):
        raise ValueError("expected an address, found blanks or control characters in it")
    parts = urlsplit(url)
    return (parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme))


def host_of(url: str) -> str:
    """``host[:port]`` of an address, without userinfo, for messages."""
    return urlsplit(url).netloc.rpartition("@")[2]


def follow(url: str, target: str) -> str:
    """The address a ``Location`` header means, seen from ``url``.

    Raises AnswerIsNo for anything but HTTPS (or HTTP seen from HTTP), for userinfo, and for an address where only a machine's own
    services are, unless the one who sends us there is on this machine, too.
    """
    allowed = ("https",) if url.startswith("https:") else ("https", "http")
    try:
        following = urljoin(url, target)
        scheme, host, _ = origin_of(following)
    except ValueError:
        scheme, host, following = "", "", target.replace("@", " at ")
    is_strange = is_special(host) or (is_loopback(_netloc(host)) and not is_loopback(urlsplit(url).netloc))
    if scheme not in allowed or not host or (is_strange and host != origin_of(url)[1]) or "@" in urlsplit(following).netloc:
        # Without its query: that may hold a signed secret.
        message = f"expected {host_of(url)} to redirect to an {' or '.join(allowed)} address, found {following.partition('?')[0][:100]!r}"
        hint = "a registry behind TLS has to know its own address; ask whoever runs it"
        raise AnswerIsNo(message, hint=hint, where=Location(url.partition("?")[0]))
    return following


def _netloc(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
