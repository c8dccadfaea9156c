"""What every transport shares: methods, contexts, wire format, bounds and budgets."""
