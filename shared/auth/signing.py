"""Tokens: JWTs that the services verify by the key that they were signed with."""

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import jwt

from shared.auth.keys import SigningKey
from shared.settings import Settings


def sign_user_token(settings: Settings, secret: str, user_id: UUID, lifetime: timedelta) -> str:
    """A development JWT that names `user_id` as its subject and expires after `lifetime`."""
    end = int(time.time()) + int(lifetime.total_seconds())
    return _signed(settings, SigningKey("HS256", secret), user_id, end, {"typ": "user"})


def sign_agent_token(
    settings: Settings,
    key: SigningKey,
    agent_id: UUID,
    project_id: UUID,
    api_key_id: UUID,
    capabilities: Sequence[str],
    expires_at: int,
) -> str:
    """A JWT for an agent that proved itself by an API key; `expires_at` in seconds since 1970."""
    said = {
        "typ": "agent",
        "project_id": str(project_id),
        "api_key_id": str(api_key_id),
        "capabilities": list(capabilities),
    }
    return _signed(settings, key, agent_id, expires_at, said)


def _signed(
    settings: Settings, key: SigningKey, subject: UUID, expires_at: int, said: dict[str, Any]
) -> str:
    claims = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "sub": str(subject),
        "iat": int(time.time()),
        "exp": expires_at,
    }
    headers = {"kid": key.kid} if key.kid else None
    return jwt.encode({**claims, **said}, key.key, algorithm=key.algorithm, headers=headers)
