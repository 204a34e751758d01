"""The service's log: one line for each record, JSON or for people, written in a thread."""
