"""The issuers whose tokens are trusted, each with keys of its own.

A token's `iss`, which nothing proves yet, only selects the issuer whose keys have to verify it.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from shared.auth.jwks_client import IssuerKeys
from shared.auth.key_sources import KeyRing, OneKey, key_ring, require_one_source
from shared.auth.keys import public_key_of_pem, signing_key
from shared.settings import Settings, SettingsError
from shared.trusted_issuers import TrustedIssuer


@dataclass(frozen=True, slots=True)
class KnownIssuer:
    """`said` is what the settings say of another issuer; None for ours, whose `sub` are ids.

    Only our tokens can be those of agents.
    """

    name: str
    audience: tuple[str, ...]
    keys: KeyRing
    said: TrustedIssuer | None = None


class Issuers:
    """Finds issuers by their names."""

    def __init__(self, issuers: Iterable[KnownIssuer]) -> None:
        self._by_name = {issuer.name: issuer for issuer in issuers}

    @property
    def names(self) -> list[str]:
        """All of them."""
        return list(self._by_name)

    def find(self, name: Any) -> KnownIssuer | None:
        """The issuer that has exactly this name."""
        return self._by_name.get(name) if isinstance(name, str) else None

    def on_change(self, tell: Callable[[], None]) -> None:
        """Have `tell` called whenever an issuer has other keys than before."""
        for issuer in self._by_name.values():
            issuer.keys.on_change(tell)

    async def close(self) -> None:
        """Do nothing in the background any more."""
        await asyncio.gather(*(issuer.keys.close() for issuer in self._by_name.values()))


def issuers(settings: Settings) -> Issuers:
    """Ours and the others; the keys at URLs are fetched by the running event loop.

    Raises SettingsError if the settings name no issuer, one twice, or a key that is of no use.
    """
    others = settings.jwt_issuers or ()
    for number, each in enumerate(others, 1):
        _require_other_name(settings, number, each)
    fixed = {n: _fixed_key(n, each) for n, each in enumerate(others, 1) if each.public_key}
    found = [
        KnownIssuer(each.issuer, each.audience, fixed.get(n) or _published_keys(each), each)
        for n, each in enumerate(others, 1)
    ]
    own = key_ring(settings)
    if own:
        found.append(KnownIssuer(settings.jwt_issuer, (settings.jwt_audience,), own))
    return Issuers(found)


def key_problems(settings: Settings) -> list[str]:
    """Everything because of which `issuers` would refuse the settings; nothing is fetched."""
    checks: list[Callable[[], object]] = [
        partial(require_one_source, settings),
        partial(signing_key, settings),
    ]
    if settings.jwt_public_key:
        checks.append(partial(public_key_of_pem, settings.jwt_public_key))
    for number, each in enumerate(settings.jwt_issuers or (), 1):
        checks.append(partial(_require_other_name, settings, number, each))
        if each.public_key:
            checks.append(partial(_fixed_key, number, each))
    return [problem for check in checks if (problem := _problem(check))]


def _problem(check: Callable[[], object]) -> str | None:
    try:
        check()
    except SettingsError as error:
        return str(error)
    return None


def _require_other_name(settings: Settings, number: int, issuer: TrustedIssuer) -> None:
    if issuer.issuer == settings.jwt_issuer:
        raise SettingsError(
            f"TANDEM_JWT_ISSUERS: entry {number}: issuer must differ from TANDEM_JWT_ISSUER, "
            "which is the issuer of our own tokens."
        )


def _fixed_key(number: int, issuer: TrustedIssuer) -> KeyRing:
    where = f"TANDEM_JWT_ISSUERS: entry {number}: public_key"
    return OneKey(public_key_of_pem(issuer.public_key or "", where))


def _published_keys(issuer: TrustedIssuer) -> KeyRing:
    return IssuerKeys(issuer.jwks_url or "", name=issuer.issuer)
