"""One way through the service for requests of every transport: see `exchange`."""
