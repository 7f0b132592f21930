"""Addresses: what is loopback, which proxy is used, what credentials are bound to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ci_plugin.registry.addresses import is_among, is_private, is_special
from ci_plugin.registry.transport import Proxies, host_of, is_loopback, origin_of


@pytest.mark.parametrize("netloc", ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.9.10", "[::1]:5000", "[::1]"])
def test_loopback_is_known(netloc: str) -> None:
    assert is_loopback(netloc)


@pytest.mark.parametrize("netloc", ["docker.io", "localhost.example.com", "127.0.0.1.example.com", "10.0.0.1:5000", "[::2]", "0.0.0.0", ""])  # noqa: S104 - parsed, never bound
def test_other_hosts_are_not_loopback(netloc: str) -> None:
    assert not is_loopback(netloc)


def test_the_proxy_of_the_scheme_is_used_but_never_for_loopback_or_what_is_exempt() -> None:
    proxies = Proxies({"https": "http://proxy.example:3128", "http": "proxy.example:80"}, lambda host: host.endswith(".internal"))
    assert proxies.find("https://registry.example.com/v2/") == "http://proxy.example:3128"
    assert proxies.find("http://registry.example.com/v2/") == "http://proxy.example:80"
    assert proxies.find("https://registry.internal/v2/") is None
    assert proxies.find("http://127.0.0.1:5000/v2/") is None
    assert Proxies({}).find("https://registry.example.com/") is None


@pytest.mark.parametrize(
    ("netloc", "exempt", "expected"),
    [
        ("a.example", "a.example", True),
        ("b.a.example:5000", "a.example", True),
        ("ba.example", "a.example", False),
        ("a.example:5000", "a.example:5000", True),
        ("a.example:5001", "a.example:5000", False),
        ("10.1.2.3:5000", "10.0.0.0/8", True),
        ("11.1.2.3:5000", "10.0.0.0/8", False),
        ("[fd00::1]:5000", "fd00::/8", True),
        ("[fd00::1]", "10.0.0.0/8", False),
        ("a.example", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("a.example", "*", True),
        ("a.example", ".", False),
    ],
)
def test_who_goes_without_a_proxy(netloc: str, exempt: str, expected: bool) -> None:
    assert is_among(netloc, exempt) is expected


@pytest.mark.parametrize("host", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "0.0.0.0", "224.0.0.1", "2130706433", "0x7f.1"])  # noqa: S104 - parsed, never bound
@pytest.mark.parametrize("of", [is_special, is_private])
def test_a_place_where_no_server_of_anybody_elses_is(host: str, of: Callable[[str], bool]) -> None:
    assert of(host)


def test_a_private_network_is_private_and_may_hold_a_server() -> None:
    for host in ("10.0.0.1", "192.168.1.1", "fd00::1", "127.0.0.1"):
        assert is_private(host)
        assert not is_special(host)
    for host in ("auth.example.com", "8.8.8.8", "2606:4700::1"):
        assert not is_private(host)


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin_of("https://Registry.example.com/a") == origin_of("https://registry.example.com:443/b")
    assert origin_of("https://a.example") != origin_of("http://a.example")
    assert origin_of("https://a.example") != origin_of("https://a.example:444")


def test_a_host_is_named_without_userinfo() -> None:
    assert host_of("https://user:word@a.example:1/x") == "a.example:1"
