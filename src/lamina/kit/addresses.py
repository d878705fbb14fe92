"""Which URLs and addresses may be fetched: the guard against server-side request forgery.

An own table of networks, not ``ipaddress.is_private``, whose meaning changes between Python versions: RFC 6890 and its
registry, carrier-grade NAT (RFC 6598), NAT64 (RFC 6052, 8215), 6to4 (RFC 3056), Teredo (RFC 4380), IPv4 inside IPv6,
site-local, multicast, reserved. What embeds an IPv4 address is refused as a whole: it is another spelling of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpx

from lamina.kit.errors import ConfigError, RefusedError

Address = IPv4Address | IPv6Address
_URL_CHARS = 4096
_DENIED: tuple[tuple[IPv4Network | IPv6Network, str], ...] = tuple(
    (ip_network(network), rule)
    for network, rule in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private network"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local, cloud metadata"),
        ("172.16.0.0/12", "private network"),
        ("192.0.0.0/24", "IETF protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private network"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, broadcast"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("::/96", "IPv4-compatible, unspecified"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "local NAT64"),
        ("100::/64", "discard-only"),
        ("2001::/32", "Teredo"),
        ("2001:db8::/32", "documentation"),
        ("2001::/23", "IETF protocol assignments"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")


def denied(address: Address) -> str | None:
    """The rule that refuses ``address``; None for an ordinary public one."""
    for network, rule in _DENIED:
        if address.version == network.version and address in network:
            return rule
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return "reserved"
    return None


class Guard:
    """The deny table with exceptions: addresses, networks or host names that may be fetched all the same."""

    def __init__(self, allow: Sequence[str] = ()) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        self._names: set[str] = set()
        for entry in allow:
            try:
                self._networks.append(ip_network(entry))
            except ValueError as error:
                if not _HOST.fullmatch(entry.lower()) or _NUMBER.fullmatch(entry.rsplit(".", 1)[-1]):
                    raise ConfigError(f"neither an address, a network nor a host name: {entry!r}") from error
                self._names.add(entry.lower())

    def check(self, host: str, address: Address) -> None:
        """Refuse to connect to ``address`` for ``host``; ``RefusedError`` names the rule."""
        rule = denied(address)
        if rule is None or host.lower() in self._names:
            return
        if any(address.version == network.version and address in network for network in self._networks):
            return
        shown = host if host == str(address) else f"{host} ({address})"
        raise RefusedError(
            f"the address of {shown} is not public: {rule}",
            hint="to fetch from an intranet, name it in allow_private",
        )


def canonical(url: str) -> httpx.URL:
    """The one spelling of a web address, or ``RefusedError`` naming the rule that it breaks.

    Only http and https; no user name; a host name in its ASCII form, or an IP address in its usual form.
    """
    if len(url) > _URL_CHARS:
        raise RefusedError(f"the address has {len(url)} characters; at most {_URL_CHARS}", where=url[:80] + "…")
    url = url.strip(" \t\r\n")
    if any(c < " " or c in "\\\x7f" for c in url):
        raise RefusedError("the address has control characters or a backslash", where=repr(url[:200]))
    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError) as error:
        raise RefusedError(f"not a web address: {error}", where=url[:200]) from error
    if parsed.scheme not in ("http", "https"):
        raise RefusedError(f"the scheme '{parsed.scheme}' is not fetched, only http and https", where=url[:200])
    if parsed.userinfo:
        raise RefusedError(
            "an address with a user name or password is not fetched", where=str(parsed.copy_with(userinfo=b""))
        )
    port = parsed.port
    if port is not None and (port > 65535 or (port < 1024 and port not in (80, 443))):
        raise RefusedError(f"port {port} is not fetched, only 80, 443 and those from 1024 on", where=url[:200])
    _check_host(host, url)
    return parsed.copy_with(fragment=None, host=host.removesuffix("."))


def _check_host(host: str, url: str) -> None:
    if literal(host) is not None:
        return
    name = host.removesuffix(".")
    if _NUMBER.fullmatch(name.rsplit(".", 1)[-1]):
        raise RefusedError(f"'{host}' is an unusual spelling of an IP address", where=url[:200])
    if len(name) > 253 or not _HOST.fullmatch(name):
        raise RefusedError(f"'{host}' is no host name", where=url[:200])


def literal(host: str) -> Address | None:
    """The address that ``host`` is, in its usual form and without a zone; None for a name."""
    try:
        return None if "%" in host else ip_address(host)
    except ValueError:
        return None
