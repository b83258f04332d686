"""The tokens with which this user's device signs in, in the user's config folder.

This module owns that file, which nobody else can read; any thread may call it. It must never keep a password.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct
from platformdirs import user_config_path

from parlour.runtime.folders import PRIVATE, home_folder, open_private
from parlour.wire.errors import ParlourError

__all__ = ["KeptToken", "KeptTokens"]


class KeptToken(Struct, frozen=True):
    """A token of this device, and the device's id, by which it can be revoked."""

    token: str
    device: str


class KeptTokens:
    """The tokens by broker and name. Every method raises ParlourError if the file cannot be read or written."""

    def __init__(self) -> None:
        self._path: Path = home_folder(user_config_path, "XDG_CONFIG_HOME") / "devices.json"

    def get(self, broker: str, name: str) -> KeptToken | None:
        """Return the token of an account at a broker; None if there is none."""
        return self._read().get(f"{name}@{broker}")

    def put(self, broker: str, name: str, token: KeptToken) -> None:
        """Keep a token."""
        self._write({**self._read(), f"{name}@{broker}": token})

    def remove(self, broker: str, name: str) -> None:
        """Forget a token; does nothing if there is none."""
        kept = self._read()
        if kept.pop(f"{name}@{broker}", None) is not None:
            self._write(kept)

    def _read(self) -> dict[str, KeptToken]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, KeptToken])
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ParlourError(f"cannot read {self._path} ({error.strerror}): make it yours") from None
        except msgspec.MsgspecError:
            raise ParlourError(f"{self._path} is damaged: remove it, and sign in with your password again") from None

    def _write(self, kept: dict[str, KeptToken]) -> None:
        new = f"{self._path}.new"
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(new, "wb", opener=open_private) as file:
                os.fchmod(file.fileno(), PRIVATE)  # it may have been left there
                file.write(msgspec.json.format(msgspec.json.encode(kept)))
            os.replace(new, self._path)
        except OSError as error:
            raise ParlourError(f"cannot write {self._path} ({error.strerror}): make it yours") from None
