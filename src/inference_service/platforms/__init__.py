"""What single platforms expect of a service: paths, ports, registration; off by default."""
