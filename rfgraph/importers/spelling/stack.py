"""Where the code of a user calls an operator, as PyTorch notes it in what it exports."""

from __future__ import annotations

import re
from typing import Any

# ``re`` compiles a pattern when it is first used, and keeps it: most models have no such notes.
_FRAME = r'File "([^"\n]{1,4096})", line (\d{1,9})'
#: Files of PyTorch itself, installed or built; a user's own directory may be called torch too.
_PYTORCH = r"-packages/torch/|/torch/(nn|ao|export|fx|jit|utils|_\w+)/|/torch/(functional|_\w+)\.py$"


def user_line(trace: Any) -> str:
    """Return ``file:line`` of the innermost frame that is not PyTorch's own, empty if there is none.

    Examples
    --------
    >>> user_line('File "net.py", line 7, in forward\\n File "/lib/torch/nn/modules/conv.py", line 565, in forward')
    'net.py:7'
    >>> user_line('File "/home/me/torch/net.py", line 7, in forward')
    '/home/me/torch/net.py:7'
    """
    if not isinstance(trace, str) or not trace:
        return ""
    own = [frame for frame in re.findall(_FRAME, trace) if not re.search(_PYTORCH, frame[0].replace("\\", "/"))]
    return ":".join(own[-1]) if own else ""
