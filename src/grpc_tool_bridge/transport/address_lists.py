"""Lists of addresses: the hubs that a client or worker may use, in one text."""

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.transport.addresses import check_address, shown_address

# A client that has lost its hub may have to dial each of them.
MAX_ADDRESSES = 100

# Of a list of addresses in a text for people; the others are counted.
MAX_SHOWN = 5

# Here commas separate the addresses that gRPC itself tries for one hub.
_LISTS_OF_GRPC = ("ipv4:", "ipv6:")


def split_addresses(addresses: object) -> tuple[str, ...]:
    """Splits a list of addresses such as ``a:50051,b:50051``, and checks each of them.

    Args:
        addresses: Addresses with commas between them, each as for ``check_address``. What begins with ``ipv4:`` or
            ``ipv6:`` is one address, with its commas; in the path of a socket, %2C is a comma.

    Returns:
        The addresses in the order given; at least one.

    Raises:
        ValidationError: One of them is not valid, or is there twice, or there are too many.
    """
    if not isinstance(addresses, str) or "," not in addresses or addresses.startswith(_LISTS_OF_GRPC):
        check_address(addresses)
        return (str(addresses),)
    found = tuple(address.strip(" ") for address in addresses.split(","))
    if len(found) > MAX_ADDRESSES:
        raise ValidationError(f"there are {len(found):,} addresses; give at most {MAX_ADDRESSES}")
    for address in found:
        if not address:
            raise ValidationError("an address is missing beside a comma; write HOST:PORT,HOST:PORT")
        check_address(address)
        if found.count(address) > 1:
            raise ValidationError(f"{shown_address(address)!r} is there twice; give each address once")
    return found


def pair_addresses(addresses: object, links: str | None) -> tuple[tuple[str, str | None], ...]:
    """Splits a list of addresses, and the list of the addresses at which these hubs take links.

    Args:
        addresses: As for ``split_addresses``.
        links: As many, in the same order; not checked. None: there are none.

    Raises:
        ValidationError: An address is not valid, or there are not as many of links.
    """
    hubs = split_addresses(addresses)
    if links is None or len(hubs) == 1:
        return tuple((hub, links) for hub in hubs)
    found = [link.strip(" ") for link in links.split(",")]
    if len(found) != len(hubs):
        raise ValidationError(
            f"link_address: there are {len(hubs)} addresses, but {len(found)} for links; give one for each, in the "
            "same order, or none"
        )
    return tuple(zip(hubs, found, strict=True))


def shown_addresses(addresses: tuple[str, ...]) -> str:
    """Returns addresses for people: the first few, and how many more there are."""
    shown = ", ".join(addresses[:MAX_SHOWN])
    return shown if len(addresses) <= MAX_SHOWN else f"{shown} and {len(addresses) - MAX_SHOWN} more"
