"""Experts whose weights cannot be shipped are read from a user's file of plain tensors, and frozen."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from eatlab.errors import ExitCode, UserError

Net = TypeVar("Net", bound=nn.Module)


def load_frozen(net: Net, path: str | Path, *, what: str, give: str, only: str = "") -> Net:
    """The network with the file's tensors, of those whose name starts with `only`; in .eval(), no gradients.

    what: the network's name, give: what the user should give instead, for messages. Raises UserError: 3 for
    a file that needs code to run or holds something else, 2 if there is none.
    """
    try:
        net.load_state_dict({k: v for k, v in plain_tensors(path).items() if k.startswith(only)})
    except FileNotFoundError as error:
        raise UserError(f"{what} file {path} does not exist", do=f"give {give}") from error
    except Exception as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is no {what} of plain tensors", why, code=ExitCode.UNSAFE_FILE) from error
    return net.eval().requires_grad_(False)


def plain_tensors(path: str | Path) -> dict[str, Tensor]:
    """Name → tensor of a .safetensors, or of a torch file that needs no code to run."""
    if str(path).endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(str(path))
    return torch.load(path, map_location="cpu", weights_only=True)
