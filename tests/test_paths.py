import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from pymule.paths import default_socket

ROOT: Final = Path(__file__).parent.parent


def test_the_socket_is_in_the_runtime_directory_of_the_user() -> None:
    environ = {"XDG_RUNTIME_DIR": "/run/user/7"}

    assert default_socket(environ, 1000) == "/run/user/7/pymule.sock"


@pytest.mark.parametrize("environ", [{}, {"XDG_RUNTIME_DIR": "relative"}])
def test_without_a_usable_runtime_directory_it_is_where_systemd_puts_one(
    environ: dict[str, str],
) -> None:
    assert default_socket(environ, 1000) == "/run/user/1000/pymule.sock"


def test_root_has_one_place_whatever_the_environment_says() -> None:
    environ = {"XDG_RUNTIME_DIR": "/run/user/0"}

    assert default_socket(environ, 0) == "/run/pymule/pymule.sock"


def test_a_client_learns_the_path_without_loading_pydantic() -> None:
    script = "import sys, pymule.paths; sys.exit('pydantic' in sys.modules)"

    done = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, "-c", script], cwd=ROOT, check=False
    )

    assert done.returncode == 0
