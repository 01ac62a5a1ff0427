"""Both backends, as a section of `params.yaml`."""

from melanoma.config.data import Execution


def processes(num_workers: int = 1) -> Execution:
    """Processes of this machine; one is this process itself."""
    return Execution(backend="processes", num_workers=num_workers, ray_address=None)


def on_ray(address: str | None, *, num_workers: int = 0) -> Execution:
    """A Ray cluster that runs; without an address one is started."""
    return Execution(backend="ray", num_workers=num_workers, ray_address=address)
