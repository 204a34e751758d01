"""What all protocols share over HTTP: limits, deadlines, disconnects, errors, the docs page."""
