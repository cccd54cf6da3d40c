"""Teaches detect-secrets what an API key of Tandem looks like."""

import re

from detect_secrets.plugins.base import RegexBasedDetector


class TandemApiKeyDetector(RegexBasedDetector):
    """Finds `tdm_<key_id>_<secret>`, in quotes or not."""

    secret_type = "Tandem API key"  # noqa: S105  # pragma: allowlist secret
    denylist = (re.compile(r"tdm_[a-z2-7]{16}_[\w-]{43}"),)
