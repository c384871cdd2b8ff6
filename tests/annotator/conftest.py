"""Debian's chromium, driven by Playwright, over a real server. A missing browser is a failure, not a skip."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.annotator.desk import Desk
from tests.annotator.world import Annotators, annotators, exported_decoder, prepared_database

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def browser_path() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found is not None, "chromium is missing: apt-get install chromium"
    return found


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def decoder_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_decoder(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="session")
def people_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_database(tmp_path_factory.mktemp("people"))


@pytest.fixture
def world(tmp_path: Path, people_file: Path, decoder_file: Path) -> Iterator[Annotators]:
    yield from annotators(tmp_path, people_file, decoder_file)


@pytest.fixture
def sit_down(chromium: Browser, world: Annotators) -> Iterator[Callable[..., Desk]]:
    """`sit_down("anna")` -> a browser of her own, on the page; `by_password` logs in as people do."""
    desks: list[Desk] = []

    def sit(name: str, page: str = "", query: str = "", *, by_password: bool = False) -> Desk:
        desk = Desk(chromium, world, name)
        desks.append(desk)
        if by_password:
            desk.log_in(page, query)
        else:
            desk.sit_down(page, query)
        return desk

    yield sit
    for desk in desks:
        desk.close()
