"""The files of the console: what the port serves, and the library in them that is not ours."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

import pytest

from tests.every_broker import Broker
from tests.http.port import Port
from tests.http.test_letters import TOKEN

VERSION = "1.6.32"
KEPT = {
    "LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
"""The files of uPlot as its package in the npm registry has them."""


def test_the_library_is_unchanged_with_its_licence_and_in_the_bill_of_materials() -> None:
    folder = files("brokerkit._http").joinpath("_page", "uplot")
    found = {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in folder.iterdir()}
    assert found == KEPT
    assert f"(v{VERSION})" in folder.joinpath("uPlot.iife.min.js").read_text("utf-8")[:100]
    assert f"uplot@{VERSION}" in (Path(__file__).parents[2] / "scripts" / "sbom.py").read_text("utf-8")


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("", "text/html"),
        ("/live.js", "text/javascript"),
        ("/uplot/uPlot.min.css", "text/css"),
        ("/uplot/LICENSE", "text/plain"),
    ],
)
async def test_all_files_are_served_with_a_policy_that_allows_nothing_else(
    memory: Broker, port: Port, file: str, kind: str
) -> None:
    await port.open(memory.bus().http(console=True, token=TOKEN))
    answer = await port.get(f"/console{file}")
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, kind)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri")


@pytest.mark.parametrize("file", ["uplot", "uplot/", "..%2f_app.py", "uplot/..%2fconsole.js", "nothing"])
async def test_no_other_file_is_served(memory: Broker, port: Port, file: str) -> None:
    await port.open(memory.bus().http(console=True, token=TOKEN))
    assert (await port.get(f"/console/{file}")).status_code == 404
