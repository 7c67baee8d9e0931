import os
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from henslowe.actors.instances.environment import command, free_port
from henslowe.actors.launch import SERVICE_DATA, LaunchSpec, Wire

HTTP = LaunchSpec(
    wire=Wire.HTTP, command=("serve", "--port={port}"), url="http://127.0.0.1:{port}/mcp", env={"PORT": "{port}"}
)


def test_the_port_is_filled_in_everywhere(tmp_path: Path) -> None:
    ready = command(HTTP, tmp_path, port=4711, data=tmp_path / "data")
    assert ready.argv == ("serve", "--port=4711")
    assert ready.env["PORT"] == "4711"
    assert ready.url == "http://127.0.0.1:4711/mcp"


def test_a_child_inherits_little_and_its_own_variables_win(tmp_path: Path) -> None:
    inherited = {"HOME": "/h", "LC_ALL": "C", "AWS_SECRET_ACCESS_KEY": "s", "HENSLOWE_TOKEN": "t", "PATH": "/bin"}
    launch = LaunchSpec(command=("x",), env={"HOME": "/mine", "EXTRA": "1"})
    env = command(launch, tmp_path, port=0, data=tmp_path / "data", inherited=inherited).env
    assert (env["HOME"], env["LC_ALL"], env["EXTRA"]) == ("/mine", "C", "1")
    assert not {"AWS_SECRET_ACCESS_KEY", "HENSLOWE_TOKEN"} & env.keys()
    assert env[SERVICE_DATA] == str(tmp_path / "data")


def test_a_child_finds_libraries_proxies_and_certificates_but_no_settings_of_package_managers(tmp_path: Path) -> None:
    passed_on = (
        *("LD_LIBRARY_PATH", "TZ", "LANG", "LC_TIME", "ALL_PROXY", "all_proxy", "HTTPS_PROXY", "no_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    )
    kept_back = ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "NPM_CONFIG_TOKEN")
    inherited = {name: f"value of {name}" for name in (*passed_on, *kept_back)}
    env = command(LaunchSpec(command=("x",)), tmp_path, port=0, data=tmp_path, inherited=inherited).env
    assert {name: env[name] for name in passed_on} == {name: inherited[name] for name in passed_on}
    assert not env.keys() & set(kept_back)


def test_the_versions_own_tools_are_found_first_then_those_of_the_nodes_interpreter(tmp_path: Path) -> None:
    (tmp_path / "app" / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "app" / "node_modules" / ".bin").mkdir(parents=True)
    launch = LaunchSpec(command=("x",), cwd="app")
    ready = command(launch, tmp_path, port=0, data=tmp_path, inherited={"PATH": "/bin"})
    app = (tmp_path / "app").resolve()
    assert ready.cwd == app
    assert ready.env["PATH"].split(os.pathsep) == [
        str(app / ".venv" / "bin"),
        str(app / "node_modules" / ".bin"),
        str(Path(sys.executable).parent),
        "/bin",
    ]
    assert ready.env["VIRTUAL_ENV"] == str(app / ".venv")


@given(st.lists(st.text(min_size=1).filter(lambda part: "{port}" not in part), min_size=1))
def test_a_command_without_a_port_is_run_as_it_is(argv: list[str]) -> None:
    launch = LaunchSpec(command=tuple(argv))
    assert command(launch, None, port=1, data=Path("data")).argv == tuple(argv)


def test_free_ports_are_ports() -> None:
    assert 1024 <= free_port() <= 65_535
