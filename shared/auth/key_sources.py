"""Which keys a service trusts, as it is configured."""

from collections.abc import Callable
from typing import Protocol

from shared.auth.jwks_client import IssuerKeys
from shared.auth.keys import VerificationKey, public_key, public_key_of_pem, signing_key, thumbprint
from shared.settings import Settings, SettingsError

NO_KEY = (
    "No key to verify tokens by: set TANDEM_JWT_PUBLIC_KEY (a PEM public key for RS256, ES256 or "
    "EdDSA), TANDEM_JWT_JWKS_URL (where the issuer publishes such keys) or TANDEM_JWT_ISSUERS "
    "(several issuers), or TANDEM_JWT_SECRET (at least 32 bytes, HS256) for development."
)
ONE_KEY = (
    "Set only one of TANDEM_JWT_SECRET, TANDEM_JWT_PUBLIC_KEY and TANDEM_JWT_JWKS_URL: "
    "it decides whose tokens are good."
)
NO_PRIVATE_KEY = (
    "Set only one of TANDEM_JWT_SECRET and TANDEM_JWT_PRIVATE_KEY: agents' tokens are signed with "
    "the one that is there."
)


class KeyRing(Protocol):
    """The keys that are trusted."""

    async def find(self, kid: str | None) -> VerificationKey | None:
        """The key for a token whose header has this `kid`; None if there is none.

        Raises Refusal(ISSUER_UNAVAILABLE) if that cannot be known.
        """

    def on_change(self, tell: Callable[[], None]) -> None:
        """Have `tell` called whenever other keys are trusted than before."""

    async def close(self) -> None:
        """Do nothing in the background any more."""


def key_ring(settings: Settings) -> KeyRing | None:
    """The keys of our own issuer; those of a JWKS URL are fetched by the running event loop.

    None if there are only other issuers. Raises SettingsError if the settings name no key at all,
    more than one, or one that is of no use.
    """
    require_one_source(settings)
    if settings.jwt_secret:
        return OneKey(VerificationKey("HS256", settings.jwt_secret.get_secret_value()))
    signing = signing_key(settings)
    own = public_key(signing.key.public_key()) if signing else None
    if settings.jwt_jwks_url:
        ring: KeyRing = IssuerKeys(settings.jwt_jwks_url)
        return WithOwnKey(own, ring) if own else ring
    if not settings.jwt_public_key:
        return OneKey(for_agents(own)) if own else None
    public = public_key_of_pem(settings.jwt_public_key)
    return WithOwnKey(own, OneKey(public)) if own and own != public else OneKey(public)


def for_agents(key: VerificationKey) -> VerificationKey:
    """The same key, trusted for tokens of agents only."""
    return VerificationKey(key.algorithm, key.key, callers=("agent",))


def require_one_source(settings: Settings) -> None:
    """Raises SettingsError unless exactly one of them says whose tokens of our own are good.

    None is needed if there are other issuers.
    """
    sources = (settings.jwt_secret, settings.jwt_public_key, settings.jwt_jwks_url)
    given = sum(1 for source in sources if source)
    if given > 1 or not (given or settings.jwt_issuers):
        raise SettingsError(ONE_KEY if given else NO_KEY)
    if settings.jwt_secret and settings.jwt_private_key:
        raise SettingsError(NO_PRIVATE_KEY)


def page_key(settings: Settings) -> bytes:
    """What page tokens are signed with: the same in every process, and whatever keys come and go.

    If it is made of what is public, page tokens are protected from mistakes only. That is enough:
    a page token says where a page begins, and nothing about what its bearer may see.
    """
    for secret in (settings.jwt_secret, settings.jwt_private_key):
        if secret:
            return secret.get_secret_value().encode()
    others = "\n".join(each.issuer for each in settings.jwt_issuers or ())
    return (settings.jwt_public_key or settings.jwt_jwks_url or others).encode()


class OneKey:
    """One key, whatever a token calls it."""

    def __init__(self, key: VerificationKey) -> None:
        self._key = key

    async def find(self, kid: str | None) -> VerificationKey:  # noqa: ARG002
        return self._key

    def on_change(self, tell: Callable[[], None]) -> None:
        """It never does."""

    async def close(self) -> None:
        """It does nothing in the background."""


class WithOwnKey:
    """Our own key, for tokens of agents, beside the issuer's keys, for tokens of users."""

    def __init__(self, own: VerificationKey, others: KeyRing) -> None:
        self._kid = thumbprint(own)
        self._own = for_agents(own)
        self._others = others
        self.on_change = others.on_change
        self.close = others.close

    async def find(self, kid: str | None) -> VerificationKey | None:
        return self._own if kid == self._kid else await self._others.find(kid)
