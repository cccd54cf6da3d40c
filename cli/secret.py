"""The key of development tokens."""

import secrets

from cli.console import CommandError
from shared.host.private_files import keep_private, located, make_folder
from shared.settings import Settings


def development_secret(settings: Settings) -> str:
    """The configured HS256 secret, or else the one in the data folder, created if it is missing.

    Raises CommandError if another key than an HS256 secret is configured.
    """
    if settings.jwt_secret:
        return settings.jwt_secret.get_secret_value()
    if settings.users_come_from_elsewhere:
        raise CommandError(
            f"{_source(settings)} is set, so only the issuer with its private key can sign tokens "
            "of users."
        )
    if settings.jwt_private_key:
        raise CommandError(
            "TANDEM_JWT_PRIVATE_KEY signs tokens of agents only: also set TANDEM_JWT_PUBLIC_KEY, "
            "TANDEM_JWT_JWKS_URL or TANDEM_JWT_ISSUERS, for the tokens of users."
        )
    data_dir = located(settings.data_dir)
    make_folder(data_dir)
    return keep_private(data_dir / "jwt.secret", lambda: secrets.token_urlsafe(48))


def _source(settings: Settings) -> str:
    if settings.jwt_public_key:
        return "TANDEM_JWT_PUBLIC_KEY"
    return "TANDEM_JWT_JWKS_URL" if settings.jwt_jwks_url else "TANDEM_JWT_ISSUERS"
