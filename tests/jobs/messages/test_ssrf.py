"""No address of a network's inside passes, however it is written."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.messages.ssrf import CLOUD, NOT_PUBLIC_V4, PRIVATE, is_allowed

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "172.15.255.255",
    "172.32.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
    "2a00:1450:4001:82f::200e",
    "168.63.129.15",
    "168.63.129.17",
    "166.7.255.255",
    "166.12.0.0",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]
INSIDE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "::1",
    "fd12:3456::1",
    "fc00::1",
    "::ffff:127.0.0.1",
    "::ffff:192.168.0.1",
    "64:ff9b::a00:1",  # 10.0.0.1 behind NAT64
    "64:ff9b::7f00:1",
]
NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "100.64.0.1",
    "100.100.100.200",  # a cloud's credentials
    "169.254.0.1",
    "168.63.129.16",  # to IANA a host like any other
    "169.254.169.254",  # most clouds' credentials
    "169.254.170.2",
    "169.254.170.23",
    "169.254.0.23",
    "169.254.42.42",
    "161.26.0.10",
    "166.8.0.1",
    "166.11.255.255",
    "192.80.8.124",
    "199.36.153.4",
    "199.36.153.11",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "::127.0.0.1",
    "::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::a83f:8110",  # 168.63.129.16 behind NAT64
    "::ffff:168.63.129.16",
    "2606:4700::5efe:a83f:8110",  # ISATAP
    "2606:4700::200:5efe:808:808",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",  # Teredo
    "2001:0:7f00:1::",
    "2001:db8::1",
    "2002:7f00:1::",  # 6to4 of 127.0.0.1
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd00:ec2::253",
    "fd20:ce::254",
    "fd00:42::42",
    "fd00:a9fe:a9fe::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "not an address",
    "",
    "127.1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_ones_pass(address: str) -> None:
    assert is_allowed(address, private=False)
    assert is_allowed(address, private=True)


@pytest.mark.parametrize("address", INSIDE)
def test_those_inside_pass_with_the_switch_alone(address: str) -> None:
    assert not is_allowed(address, private=False)
    assert is_allowed(address, private=True)


@pytest.mark.parametrize("address", NEVER)
def test_others_never_pass(address: str) -> None:
    assert not is_allowed(address, private=False)
    assert not is_allowed(address, private=True)


@pytest.mark.parametrize("network", CLOUD, ids=str)
def test_what_clouds_keep_for_their_machines_never_passes(
    network: IPv4Network | IPv6Network,
) -> None:
    for address in (network.network_address, network.broadcast_address):
        assert not is_allowed(str(address), private=False)
        assert not is_allowed(str(address), private=True)


@given(st.ip_addresses(v=4))
def test_disguised_as_ipv6_an_address_is_what_it_is(address: object) -> None:
    for private in (False, True):
        expected = is_allowed(str(address), private=private)
        assert is_allowed(f"::ffff:{address}", private=private) == expected
        assert is_allowed(f"64:ff9b::{address}", private=private) == expected


@pytest.mark.parametrize("network", NOT_PUBLIC_V4, ids=str)
def test_the_ends_of_networks_are_inside(network: IPv4Network) -> None:
    for address in (network.network_address, network.broadcast_address):
        assert not is_allowed(str(address), private=False)


@pytest.mark.parametrize("network", PRIVATE, ids=str)
def test_the_switch_opens_whole_networks(network: IPv4Network | IPv6Network) -> None:
    for address in (network.network_address, network.broadcast_address):
        assert is_allowed(str(address), private=True)
        assert not is_allowed(str(address), private=False)
