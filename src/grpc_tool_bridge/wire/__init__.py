"""What travels: values, and the link's protocol. No I/O."""
