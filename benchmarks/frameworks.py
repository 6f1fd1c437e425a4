"""torch with torchvision and timm, where a CPU build of torch cannot load the operators of torchvision."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def torchvision() -> tuple[Any, Any]:
    """Return torch and torchvision; a CPU build of torch may need torchvision's operators declared, as in the tests."""
    try:
        import torch
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
        from vision import torch, torchvision
    return torch, torchvision


def timm() -> Any:
    """Return timm."""
    torchvision()
    import timm

    return timm
