"""Files from `https://` addresses."""

import http.client
import shutil
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from snaketune.config.dataset import without_query
from snaketune.runtime.errors import UserError

_TIMEOUT_S = 60


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but not away from https."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        _require_https(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, target: Path, context: ssl.SSLContext | None = None) -> None:
    """Streams `url` to `target`. Raises `UserError` where it is not there whole."""
    _require_https(url)
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _HttpsOnly())
    try:
        with opener.open(url, timeout=_TIMEOUT_S) as reply, target.open("wb") as file:
            shutil.copyfileobj(reply, file, 1 << 20)
            expected = reply.headers.get("Content-Length")
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise UserError(
            f"{without_query(url)}: found {type(error).__name__}: {error}, expected a file that "
            "this machine can download; without the network give `source` a local file"
        ) from None
    size = target.stat().st_size
    # Reading in pieces does not notice a connection that ends early.
    if expected is not None and size != int(expected):
        raise UserError(
            f"{without_query(url)}: found {size} bytes, expected {expected}; start again"
        )


def _require_https(url: str) -> None:
    if not url.startswith("https://"):
        raise UserError(
            f"{without_query(url)}: found an address that is not encrypted, expected https://"
        )
