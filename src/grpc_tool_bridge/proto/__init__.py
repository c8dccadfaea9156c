"""Generated from ``proto/dspex_bridge.proto``; ``make proto`` makes it anew."""
