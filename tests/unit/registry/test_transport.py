"""Addresses: what is loopback, which proxy is used, what credentials are bound to."""

from __future__ import annotations

import pytest

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


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin_of("https://Registry.example.com/a") == origin_of("https://registry.example.com:443/b")
    assert origin_of("https://a.example") != origin_of("http://a.example")
    assert origin_of("https://a.example") != origin_of("https://a.example:444")


def test_a_host_is_named_without_userinfo() -> None:
    assert host_of("https://user:word@a.example:1/x") == "a.example:1"
