"""Who may do what: identities, policy, and what is kept of it."""
