"""The Debian packages of the peers: it installs the missing ones without starting their services.

This module owns the calls of apt; it runs on the bench's own thread. It must never install a package that is there
already, nor leave a service running that did not run before.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from bench.series import show_progress

__all__ = ["install"]

POLICY = Path("/usr/sbin/policy-rc.d")
"""The program that Debian's scripts ask before they start a service."""


def _installed(package: str) -> bool:
    command = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    if shutil.which("dpkg-query") is None:
        return False
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout == "installed"


def install(packages: Iterable[str]) -> set[str]:
    """Install the missing packages; return those that are installed in the end, and say why others are not."""
    wanted = set(packages)
    missing = sorted(package for package in wanted if not _installed(package))
    if missing:
        show_progress(f"installing {' '.join(missing)} …")
        trouble = _install(missing)
        if trouble:
            show_progress(f"not installed ({trouble}); for the whole comparison: apt-get install {' '.join(missing)}")
    return {package for package in wanted if _installed(package)}


def _install(missing: list[str]) -> str:
    """Return why that was not possible, or ""."""
    if shutil.which("apt-get") is None:
        return "this is not Debian"
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if root and (shutil.which("sudo") is None or subprocess.run([*root, "true"], check=False).returncode):
        return "this needs root, or sudo without a password"
    forbids = not POLICY.exists()
    if forbids:
        script = f"printf '#!/bin/sh\\nexit 101\\n' >{POLICY} && chmod +x {POLICY}"
        subprocess.run([*root, "sh", "-c", script], check=True)
    try:
        apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
        subprocess.run([*apt, "update"], stdout=subprocess.DEVNULL, check=False)
        done = subprocess.run(
            [*apt, "install", "-y", "--no-install-recommends", *missing],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        if forbids:
            subprocess.run([*root, "rm", "-f", str(POLICY)], check=True)
    if shutil.which("systemctl"):
        # Otherwise they would start with the machine.
        subprocess.run([*root, "systemctl", "disable", *missing], capture_output=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]
