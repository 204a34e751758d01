"""TensorFlow Serving's REST API: also our plain JSON API."""
