"""What is worth keeping between runs: compiled programs, and weights decoded once."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """The user's cache folder of this project; `XDG_CACHE_HOME` moves it on Linux."""
    return Path(platformdirs.user_cache_dir("toolprm-jax"))


def keep_programs() -> None:
    """Keeps compiled programs for later processes, from here on.

    They lie in `JAX_COMPILATION_CACHE_DIR` if that is set, else in the user's cache folder, apart
    for each version of JAX and kind of device. `JAX_ENABLE_COMPILATION_CACHE=false` keeps none.
    """
    import jax

    # Not `jax.config.jax_compilation_cache_dir`: type checkers do not know it.
    if jax.config.values["jax_compilation_cache_dir"] is None:
        device = jax.local_devices()[0].device_kind.replace(" ", "-").replace("/", "-")
        folder = cache_folder() / f"jax-{jax.__version__}-{jax.default_backend()}-{device}"
        jax.config.update("jax_compilation_cache_dir", str(folder))


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder that is made where it is absent, whole or not at all.

    Args:
      folder: where it lies.
      make: fills an empty folder beside it, which is moved into place.

    Raises:
      OSError: it can't be written.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        make(beside)
        os.replace(beside, folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder
