"""What clients, models and the machine do to the service, and what it does about it."""
