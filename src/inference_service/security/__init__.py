"""Access control, quotas and encrypted transport: what a client may do, and how much of it."""
