"""Ends with 0 if the hub at HOST:PORT takes calls: ``python healthcheck.py 127.0.0.1:8080``.

It asks ``/readyz``, which needs no token, over TLS if the hub has a certificate. Of that it checks nothing: it sends
nothing secret, and a certificate for other names says nothing of this address.
"""

import http.client
import os
import ssl
import sys

SECONDS = 4.0


def main(address: str) -> int:
    """Returns 0, or 1 with a line of why not."""
    try:
        connection = _connection(address)
        connection.request("GET", "/readyz", headers={"connection": "close"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        sys.stdout.write(f"{address} does not answer: {error}\n")
        return 1
    if status != http.HTTPStatus.OK:
        sys.stdout.write(f"{address} answers {status}; it does not take calls\n")
    return int(status != http.HTTPStatus.OK)


def _connection(address: str) -> http.client.HTTPConnection:
    if not os.environ.get("TOOL_BRIDGE_TLS_CERT"):
        return http.client.HTTPConnection(address, timeout=SECONDS)
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(address, timeout=SECONDS, context=unchecked)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
