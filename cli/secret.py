"""The key of development tokens."""

import secrets

from cli.console import CommandError
from shared.private_files import keep_private
from shared.settings import Settings


def development_secret(settings: Settings) -> str:
    """The configured HS256 secret, or else the one in the data folder, made where it is missing.

    Raises CommandError where tokens are signed elsewhere, because a public key checks them.
    """
    if settings.jwt_secret:
        return settings.jwt_secret.get_secret_value()
    if settings.jwt_public_key:
        raise CommandError(
            "TANDEM_JWT_PUBLIC_KEY is set, so only the holder of its private key can sign tokens."
        )
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return keep_private(settings.data_dir / "jwt.secret", lambda: secrets.token_urlsafe(48))
