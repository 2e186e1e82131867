"""How each stage of the paper trains: pretrain, finetune, gan.

On a cluster the submitted folder comes first on every process's path, but the library lies one level down, in
`platform/`, and an installed copy of it could shadow the submitted one. So this package, which every worker imports
before the library, puts the `platform/` beside it first, and refuses to run with another tree's library.
"""

import sys
from pathlib import Path

_PLATFORM = Path(__file__).resolve().parent.parent / "platform"

if (_PLATFORM / "crystalsweep").is_dir():
    sys.path[:] = [str(_PLATFORM), *(entry for entry in sys.path if entry != str(_PLATFORM))]
    import crystalsweep

    if not Path(crystalsweep.__file__).resolve().is_relative_to(_PLATFORM):
        raise ImportError(
            f"crystalsweep was imported from {crystalsweep.__file__} before trainables from {_PLATFORM.parent}: "
            f"two copies of the code are mixed; import trainables first, or put {_PLATFORM} first on PYTHONPATH"
        )
