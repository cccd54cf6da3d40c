"""Development tokens: JWTs signed with the HS256 secret that the services verify them by."""

import time
from datetime import timedelta
from uuid import UUID

import jwt

from shared.settings import Settings


def sign_user_token(settings: Settings, secret: str, user_id: UUID, lifetime: timedelta) -> str:
    """A JWT that names `user_id` as its subject and expires after `lifetime`."""
    now = int(time.time())
    claims = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "sub": str(user_id),
        "typ": "user",
        "iat": now,
        "exp": now + int(lifetime.total_seconds()),
    }
    return jwt.encode(claims, secret, algorithm="HS256")
