"""The scheduler against other policies, in virtual time."""
