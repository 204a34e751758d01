"""Everything that decides: plain Python, handed the time. No asyncio, clock, disk, HTTP."""
