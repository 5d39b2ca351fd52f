"""SSRF protection: the IP addresses that webhooks may connect to, only public ones by default.

`ipaddress.is_global` is not enough: its tables depend on the Python version, IPv6 addresses can
embed IPv4 ones in several ways, and clouds use some public addresses for internal services.
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
"""Third 32-bit word of an address with an IPv4 address in its fourth (RFC 5214)."""
# Internal services of clouds: credentials, DNS, agents. Link-local addresses are refused anyway. No
# maintained library has such a list; extend it from the documentation of the clouds.
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
# Allowed by `webhook_allow_private`: this machine and private networks, but not link-local
# addresses, where clouds serve the credentials of a machine.
PRIVATE: tuple[IPv4Network | IPv6Network, ...] = (
    *map(IPv4Network, ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    *map(IPv6Network, ("::1/128", "fc00::/7")),
)


def parse(text: str) -> Address:
    """Parse an address from a resolver; an embedded IPv4 address is extracted.

    Raises:
        ValueError: it is not an IP address.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:  # IPv4 hosts, as seen from IPv6-only networks
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_public(address: Address) -> bool:
    """Whether it is a public internet address."""
    if _within(address, CLOUD):
        return False
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in NOT_PUBLIC_V4)
    special = any(address in network for network in NOT_PUBLIC_V6)
    special |= int(address) >> 32 & 0xFFFF_FFFF in ISATAP
    return address in GLOBAL_UNICAST_V6 and address.is_global and not special


def is_allowed(text: str, *, private: bool) -> bool:
    """Whether a webhook may connect to this address.

    Args:
        text: an address from a resolver.
        private: also allow this machine and private networks.
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
