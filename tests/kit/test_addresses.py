from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.kit.addresses import Guard, canonical, denied
from lamina.kit.errors import ConfigError, RefusedError

REFUSED = {
    "0.0.0.0": "this network", "10.1.2.3": "private", "100.64.0.1": "carrier-grade", "127.0.0.1": "loopback",
    "127.255.255.255": "loopback", "169.254.169.254": "metadata", "172.16.0.1": "private", "172.31.255.255": "private",
    "192.0.0.8": "IETF", "192.0.2.1": "documentation", "192.88.99.1": "6to4", "192.168.1.1": "private",
    "198.18.0.1": "benchmarking", "198.51.100.7": "documentation", "203.0.113.9": "documentation",
    "224.0.0.1": "multicast", "240.0.0.1": "reserved", "255.255.255.255": "broadcast", "::": "unspecified",
    "::1": "loopback", "::127.0.0.1": "IPv4-compatible", "::ffff:127.0.0.1": "IPv4-mapped", "::ffff:8.8.8.8": "mapped",
    "64:ff9b::7f00:1": "NAT64", "64:ff9b:1::1": "NAT64", "100::1": "discard", "2001::1": "Teredo", "2001:2::1": "IETF",
    "2001:db8::1": "documentation", "2002:7f00:1::": "6to4", "3fff::1": "documentation", "5f00::1": "segment",
    "fc00::1": "unique local", "fd12::1": "unique local", "fe80::1": "link-local", "fec0::1": "site-local",
    "ff02::1": "multicast", "4000::1": "reserved", "8000::1": "reserved",
}  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "100.63.255.255", "172.15.0.1", "172.32.0.1", "192.0.1.1", "223.255.255.255",
          "2606:4700::1111", "2a00::1", "2001:4860::8888"]  # fmt: skip


@pytest.mark.parametrize(("address", "rule"), REFUSED.items())
def test_what_is_not_public_is_refused_by_name(address: str, rule: str) -> None:
    assert rule in (denied(ip_address(address)) or "")
    with pytest.raises(RefusedError, match=rule):
        Guard().check("site.test", ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    assert denied(ip_address(address)) is None
    Guard().check("site.test", ip_address(address))


@given(st.ip_addresses())
def test_what_python_calls_private_never_passes(address: IPv4Address | IPv6Address) -> None:
    if not address.is_global or address.is_multicast:
        assert denied(address) is not None


def test_exceptions_are_addresses_networks_and_names() -> None:
    guard = Guard(("127.0.0.1", "10.0.0.0/8", "wiki.intern"))
    guard.check("x", ip_address("127.0.0.1"))
    guard.check("x", ip_address("10.9.9.9"))
    guard.check("WIKI.intern", ip_address("192.168.0.5"))
    for host, address in (("x", "127.0.0.2"), ("x", "192.168.0.5"), ("x", "::1"), ("evil.wiki.intern", "192.168.0.5")):
        with pytest.raises(RefusedError):
            guard.check(host, ip_address(address))
    for entry in ("not a host", "10.0.0.1/8", "0x7f.1", "999"):
        with pytest.raises(ConfigError):
            Guard((entry,))


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("file:///etc/passwd", "scheme 'file'"),
        ("gopher://x.test/", "scheme 'gopher'"),
        ("data:text/html,x", "scheme 'data'"),
        ("javascript:alert(1)", "scheme"),
        ("//x.test/", "scheme"),
        ("http://ann:secret@x.test/", "user name"),
        ("http://x.test@127.0.0.1/", "user name"),
        ("http://2130706433/", "unusual spelling"),
        ("http://0x7f.1/", "unusual spelling"),
        ("http://0x7f000001/", "unusual spelling"),
        ("http://127.1/", "unusual spelling"),
        ("http://127.0.0.1./", "unusual spelling"),
        ("http://0177.0.0.1/", "Invalid IPv4"),
        ("http://127.0.0.0x1/", "unusual spelling"),
        ("http://[::1%25lo]/", "no host name"),
        ("http://x.test\\@evil.test/", "backslash"),
        ("http://x.te\nst/", "control"),
        ("http://a b.test/", "no host name"),
        ("http://x..test/", "no host name"),
        ("http:///x", "no host name"),
        ("http://-x.test/", "no host name"),
        ("http://ex%61mple.test/", "no host name"),
        ("http://x.test:22/", "port 22"),
        ("http://x.test:99999/", "port 99999"),
        ("http://xn--/", "no host name"),
        ("http://x.test/" + "a" * 5000, "characters"),
        ("", "scheme"),
    ],
)
def test_odd_addresses_are_refused_by_name(url: str, rule: str) -> None:
    with pytest.raises(RefusedError, match=rule) as caught:
        canonical(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "spelling"),
    [
        ("HTTP://EXAMPLE.test:80/a/../b#part", "http://example.test/b"),
        ("https://example.test.", "https://example.test/"),
        ("http://bücher.test/ä?q=ü", "http://xn--bcher-kva.test/%C3%A4?q=%C3%BC"),
        (" http://x.test/a b ", "http://x.test/a%20b"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/"),
        ("http://[::1]/", "http://[::1]/"),
    ],
)
def test_one_spelling(url: str, spelling: str) -> None:
    found = canonical(url)
    assert f"{found.scheme}://{found.netloc.decode()}{found.raw_path.decode()}" == spelling
