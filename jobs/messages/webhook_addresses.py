"""Allowed IP addresses of webhook targets: public ones only (SSRF protection).

`ipaddress` alone does not do: its registries change with Python's version, and an IPv4 address can
stand inside an IPv6 one in several ways.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

# IANA's special-purpose registries, multicast, and the former 6to4 relays.
NOT_PUBLIC_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)
GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
# Protocol assignments with Teredo, documentation, 6to4.
NOT_PUBLIC_V6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
NAT64 = IPv6Network("64:ff9b::/96")
# What the switch for private receivers opens: this machine and the usual private networks, never
# link-local addresses, at which clouds hand out their machines' credentials.
PRIVATE: tuple[IPv4Network | IPv6Network, ...] = (
    *map(IPv4Network, ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    *map(IPv6Network, ("::1/128", "fc00::/7")),
)
METADATA_V6 = frozenset(map(IPv6Address, ("fd00:ec2::254", "fd20:ce::254")))


def parse(text: str) -> Address:
    """An address as resolvers write it; an IPv4 address inside an IPv6 one is taken out.

    Raises:
        ValueError: it is none.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:  # where IPv6 alone is spoken, this is how IPv4 hosts are reached
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_public(address: Address) -> bool:
    """Whether it is an address of the open internet."""
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in NOT_PUBLIC_V4)
    special = any(address in network for network in NOT_PUBLIC_V6)
    return address in GLOBAL_UNICAST_V6 and address.is_global and not special


def is_allowed(text: str, *, private: bool) -> bool:
    """Whether a webhook may lead to this address.

    Args:
        text: as resolvers write it.
        private: whether this machine and private networks are allowed as well.
    """
    try:
        address = parse(text)
    except ValueError:
        return False
    if is_public(address):
        return True
    inside = any(address.version == network.version and address in network for network in PRIVATE)
    return private and inside and address not in METADATA_V6
