"""What a peer in any language must do, as vectors, and a runner that tests a peer against them."""
