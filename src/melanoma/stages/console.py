"""What stages print."""


def say(stage: str, text: str) -> None:
    """Print one line about what a stage did."""
    print(f"[{stage}] {text}", flush=True)
