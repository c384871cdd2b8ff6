"""How the server behaves; everything has a default that is safe on one's own machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

WEB = Path(__file__).parent / "web" / "dist"
"""Where `make web` puts the built page; shipped in the wheel, not in the repository."""


@dataclass(frozen=True)
class ServerSettings:
    home: str = ""
    """Shown to people: the home's name."""
    origins: frozenset[str] = field(default_factory=frozenset)
    """Origins allowed to write beside the server's own (`https://annotate.example.org` behind a proxy)."""
    secure_cookie: bool = False
    """Set the cookie for HTTPS only: where a proxy ends TLS."""
    session_seconds: float = 12 * 3600
    link_seconds: float = 3600
    nudge_seconds: int = 30
    """The paper: annotators move on once a mask takes longer."""
    heartbeat_seconds: int = 60
    body_bytes: int = 4 << 20
    logins_per_minute: int = 10
    """Failed ones, by name and by address."""
    web: Path = WEB
