import re
import socket
from contextlib import contextmanager

import pytest

from melanoma.errors import DataError, TrackingError
from melanoma.stages import needs, ports
from tests.registry.shelf import NAME


@contextmanager
def listening():
    """The number of a port on which a program listens."""
    with socket.socket() as server:
        server.bind((ports.LOCAL, 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_store_is_a_file_that_exists_or_a_server(shelf, monkeypatch, tmp_path):
    needs.require_store()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    needs.require_store()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(TrackingError, match=r"mlflow\.db does not exist\. Run `make demo` first"):
        needs.require_store()
    assert not (tmp_path / "mlflow.db").exists()


def test_results_are_headlines_and_data_cards(tmp_path):
    with pytest.raises(DataError, match=r"no results in .* yet\. Run `make demo`"):
        needs.require_results(tmp_path)
    for name in ("headlines", "data"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match="no results"):
        needs.require_results(tmp_path)
    (tmp_path / "headlines" / "sample.json").touch()
    needs.require_results(tmp_path)


def test_a_cohort_with_a_model_at_staging_can_be_served_and_others_say_which_one_can(shelf):
    cohorts = ("sample", "ph2")
    with pytest.raises(TrackingError, match=r"ph2 has no model .* No cohort has one: run `make demo`"):
        needs.require_staging("ph2", cohorts)
    version = shelf.register(NAME)
    with pytest.raises(TrackingError, match="No cohort has one"):  # registered, but refused by the gates
        needs.require_staging("ph2", cohorts)
    shelf.move(version)
    needs.require_staging("ph2", cohorts)
    with pytest.raises(TrackingError, match=r"add sample to run\.cohorts .* Ready to serve: ph2\.$"):
        needs.require_staging("sample", cohorts)
    unknown = r"There is no cohort isic\. Cohorts of params\.yaml: sample, ph2\. Ready to serve: ph2\.$"
    with pytest.raises(TrackingError, match=unknown):
        needs.require_staging("isic", cohorts)


def test_a_port_that_the_system_reserves_is_refused_with_a_free_one(monkeypatch):
    is_free = ports.is_free

    def forbid(port):
        if port < 1024:
            raise PermissionError
        return is_free(port)

    monkeypatch.setattr(ports, "is_free", forbid)
    with pytest.raises(DataError, match=r"Port 80 is reserved .* `make ui UI_PORT=\d{4,}`"):
        needs.require_free_port(80, "make ui UI_PORT=")


def test_a_port_in_use_is_refused_with_a_free_one():
    with listening() as port:
        with pytest.raises(DataError, match=rf"Port {port} is in use .* `make ui UI_PORT=\d+`") as refused:
            needs.require_free_port(port, "make ui UI_PORT=")
        other = int(re.findall(r"UI_PORT=(\d+)", str(refused.value))[0])
        assert other > port
        needs.require_free_port(other, "make ui UI_PORT=")
    needs.require_free_port(port, "make ui UI_PORT=")
