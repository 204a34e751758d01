"""The command ``inference-service``, also ``python -m inference_service``."""

import signal


def run() -> None:
    """Import the command and run it.

    The import takes a second on a slow machine. Ctrl-C ends it without a stack trace: nothing has
    been begun that needs an end. Where the signal is ignored, as under nohup, it stays so.
    """
    interactive = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interactive:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from inference_service.cli import main  # noqa: PLC0415 - it is what takes long

    if interactive:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main()


if __name__ == "__main__":
    run()
