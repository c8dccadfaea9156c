"""What a model reads and writes of values and names; shared by agents, adapters and gateways."""
