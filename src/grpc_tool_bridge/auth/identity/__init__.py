"""Who a peer is: by a token of its own, a JWT, a client certificate, or the user of its process."""
