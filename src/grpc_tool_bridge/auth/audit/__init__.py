"""The audit trail: a line for each call and each decision, in chains that show what was changed or cut."""
