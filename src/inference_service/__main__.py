"""``python -m inference_service``."""

from inference_service.cli import main

if __name__ == "__main__":
    main()
