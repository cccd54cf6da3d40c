"""The configuration of every Tandem process: environment variables with the prefix ``TANDEM_``."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "TANDEM_"
DATABASE_URL_FORM = (
    "must be a URL like postgresql://user:password@host:5432/database, "
    "where special characters of the password are written as %23 and so on"
)
JWKS_URL_FORM = (
    "must be a URL like https://issuer.example/.well-known/jwks.json, without a user or password; "
    "http:// is for this machine itself only (localhost, 127.0.0.1, [::1]), because who can "
    "change the answer on its way could make keys"
)
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
MINIMUM_SECRET_BYTES = 32  # RFC 7518, 3.2: an HS256 key is at least as long as its hash


class SettingsError(Exception):
    """A setting is wrong or missing. The message names the variable and what is allowed."""


def _host_and_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("must be host:port, for example 127.0.0.1:50051")
    return value


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:  # its message repeats the password
        return ""


def _jwks_url(value: str) -> str:
    try:
        url = urlsplit(value)
        sound = value.isascii() and value.isprintable() and " " not in value and url.port != 0
    except ValueError:
        sound = False
    if not sound or not url.hostname or "@" in url.netloc:
        raise ValueError(JWKS_URL_FORM)
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in THIS_MACHINE):
        raise ValueError(JWKS_URL_FORM)
    return value


Address = Annotated[str, AfterValidator(_host_and_port)]


class Settings(BaseSettings):
    """What the environment says. A secret is a SecretStr, so that no log or traceback prints it."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    database_url: SecretStr | None = None
    data_dir: Path = Path(".data")
    agent_address: Address = "127.0.0.1:50051"
    task_address: Address = "127.0.0.1:50052"
    jwt_issuer: str = "tandem"
    jwt_audience: str = "tandem"
    jwt_secret: SecretStr | None = None
    jwt_public_key: str | None = None
    jwt_jwks_url: Annotated[str, AfterValidator(_jwks_url)] | None = None
    jwt_private_key: SecretStr | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
    pool_size: int = Field(default=10, ge=1, le=100)

    @property
    def users_come_from_elsewhere(self) -> bool:
        """Whether an issuer of its own signs the tokens of users, and this machine cannot."""
        return bool(self.jwt_public_key or self.jwt_jwks_url)

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _ignore_case(cls, value: str) -> str:
        return value.lower()

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value and _scheme(value.get_secret_value()) not in ("postgresql", "postgres"):
            raise ValueError(DATABASE_URL_FORM)
        return value

    @field_validator("jwt_secret")
    @classmethod
    def _is_long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value and len(value.get_secret_value().encode()) < MINIMUM_SECRET_BYTES:
            raise ValueError(f"must be at least {MINIMUM_SECRET_BYTES} bytes long")
        return value


def load_settings() -> Settings:
    """Read the environment.

    Raises SettingsError with one sentence per wrong variable; a value is never repeated in it,
    because it may be a secret.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(map(_sentence, error.errors()))) from None


def _sentence(problem: object) -> str:
    assert isinstance(problem, dict)
    variable = PREFIX + str(problem["loc"][0]).upper()
    allowed = str(problem["msg"]).removeprefix("Value error, ")
    return f"{variable}: {allowed[0].lower()}{allowed[1:]}."
