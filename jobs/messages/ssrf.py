"""Allowed IP addresses of webhook targets: public ones only (SSRF protection).

`ipaddress` alone does not do: its registries change with Python's version, an IPv4 address can
stand inside an IPv6 one in several ways, and to IANA some hosts are public that clouds keep for
machines inside them alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

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
ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""The third quarter of an address that holds an IPv4 address in its last (RFC 5214)."""
# Where clouds answer their own machines: credentials, names, agents. Link-local ones are refused
# anyhow. No library that is kept offers such a list; add to it what a cloud's pages name.
CLOUD: dict[IPv4Network | IPv6Network, str] = {
    ip_network(network): whose
    for network, whose in {
        # configure_redaction.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
        "168.63.129.16/32": "Azure: agents, health probes, DNS, DHCP",
        # alibabacloud.com/help/ecs: view instance metadata
        "100.100.100.200/32": "Alibaba Cloud: instance metadata",
        # docs.oracle.com/iaas: instance metadata of classic instances
        "192.0.0.192/32": "Oracle Cloud: instance metadata",
        # deploy.equinix.com/developers/docs/metal: metadata
        "192.80.8.124/32": "Equinix Metal: instance metadata",
        # cloud.ibm.com/docs/vpc: service endpoints for IBM Cloud VPC
        "161.26.0.0/16": "IBM Cloud: services inside",
        "166.8.0.0/14": "IBM Cloud: services inside",
        # cloud.google.com/vpc/docs/configure-private-google-access
        "199.36.153.4/30": "Google Cloud: APIs as networks inside reach them",
        "199.36.153.8/30": "Google Cloud: APIs as networks inside reach them",
        # docs.aws.amazon.com: instance metadata, EKS Pod Identity, Amazon DNS, time
        "fd00:ec2::/32": "AWS: services of an instance",
        # cloud.google.com/compute/docs/metadata
        "fd20:ce::/32": "Google Cloud: instance metadata",
        # scaleway.com/en/docs/instances: metadata
        "fd00:42::/32": "Scaleway: instance metadata",
        # techdocs.akamai.com/cloud-computing/docs: metadata service
        "fd00:a9fe:a9fe::/48": "Akamai (Linode): instance metadata",
    }.items()
}
# What the switch for private receivers opens: this machine and the usual private networks, never
# link-local addresses, at which clouds hand out their machines' credentials.
PRIVATE: tuple[IPv4Network | IPv6Network, ...] = (
    *map(IPv4Network, ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    *map(IPv6Network, ("::1/128", "fc00::/7")),
)


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
    if _within(address, CLOUD):
        return False
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in NOT_PUBLIC_V4)
    special = any(address in network for network in NOT_PUBLIC_V6)
    special |= int(address) >> 32 & 0xFFFF_FFFF in ISATAP
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
    return private and _within(address, PRIVATE) and not _within(address, CLOUD)


def _within(address: Address, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
