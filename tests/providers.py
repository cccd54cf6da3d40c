"""Tokens as providers of identities document them, signed by an issuer of the tests' own.

Each has what an access token of Keycloak and Auth0, or an ID token of Google, says, and the entry
of TANDEM_JWT_ISSUERS for it.
"""

import json
import time
from dataclasses import dataclass, field
from typing import Any

import jwt

from shared.trusted_issuers import TrustedIssuer
from tests.issuer import KEYS, public_pem


@dataclass(frozen=True)
class Provider:
    """An issuer: its entry in the settings, what its tokens say, and the key that signs them."""

    issuer: str
    audience: str
    subject: str
    says: dict[str, Any]
    settings: dict[str, str] = field(default_factory=dict)
    header: dict[str, str] = field(default_factory=dict)
    algorithm: str = "RS256"
    kid: str = "key-1"

    def entry(self, jwks_url: str | None = None) -> TrustedIssuer:
        """Its entry; without a URL its key is given itself."""
        pem = None if jwks_url else public_pem(KEYS[self.algorithm])
        audience = (self.audience,)
        return TrustedIssuer(
            self.issuer, audience, jwks_url=jwks_url, public_key=pem, **self.settings
        )

    def claims(self, **changes: Any) -> dict[str, Any]:
        """What a token says, but for the changes; None leaves a claim out."""
        now = int(time.time())
        said = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": self.subject,
            "iat": now,
            "exp": now + 12 * 3600,
            **self.says,
            **changes,
        }
        return {name: value for name, value in said.items() if value is not None}

    def token(self, key: Any = None, **changes: Any) -> str:
        """A token, by its own key or another one."""
        payload = json.dumps(self.claims(**changes)).encode()
        headers = {"kid": self.kid, **self.header}
        return jwt.PyJWS().encode(payload, key or KEYS[self.algorithm], self.algorithm, headers)


KEYCLOAK = Provider(
    "https://keycloak.example/realms/tandem",
    "tandem",
    "5c7a5a3e-1e1f-4a8e-9d43-1f3c7c3f4f77",
    {
        "jti": "onrtac:8a3f0f52-7dcb-4d33-b2a7-0a1f2f3a4b5c",
        "typ": "Bearer",
        "azp": "tandem-cli",
        "sid": "0f0e2a60-3d94-4e05-9dd4-1d7b1a7e4f10",
        "acr": "1",
        "allowed-origins": ["/*"],
        "realm_access": {"roles": ["default-roles-tandem", "offline_access"]},
        "scope": "openid email profile",
        "email_verified": True,
        "name": "Ada Lovelace",
        "preferred_username": "ada",
        "given_name": "Ada",
        "family_name": "Lovelace",
        "email": "ada@example.org",
    },
)
AUTH0 = Provider(
    "https://tandem.eu.auth0.com/",
    "https://tandem.example",
    "auth0|507f1f77bcf86cd799439020",
    {
        "azp": "my-client-id",
        "scope": "openid profile email",
        "https://tandem.example/email": "ada@example.org",
        "https://tandem.example/name": "Ada Lovelace",
    },
    {
        "email_claim": "https://tandem.example/email",
        "full_name_claim": "https://tandem.example/name",
    },
    {"typ": "JWT"},
)
GOOGLE = Provider(
    "https://accounts.google.com",
    "1234987819200.apps.googleusercontent.com",
    "10769150350006150715113082367",
    {
        "azp": "1234987819200.apps.googleusercontent.com",
        "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q",
        "hd": "example.org",
        "email": "ada@example.org",
        "email_verified": True,
        "name": "Ada Lovelace",
        "picture": "https://lh3.example/a-/photo.jpg",
        "given_name": "Ada",
        "family_name": "Lovelace",
        "nonce": "0394852-3190485-2490358",
    },
    {"username_claim": "email"},
)
PROVIDERS = {"Keycloak": KEYCLOAK, "Auth0": AUTH0, "Google": GOOGLE}
