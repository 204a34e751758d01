"""The batching scheduler: pure decisions, told the time. docs/scheduler.md has the rules."""
