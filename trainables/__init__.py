"""How each stage trains: the paper's pretrain, finetune and gan; critic and teach. Importing it declares them.

On a cluster the submitted folder comes first on every process's path, but the library lies one level down, in
`platform/`, and an installed copy of it could shadow the submitted one. So this package, which every sweep imports
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

# They are declared, and so listed by `crystalsweep train --help`, in this order.
# isort: off
from trainables.pretrain.config import STAGE as PRETRAIN  # noqa: E402  the library is found now
from trainables.finetune.config import STAGE as FINETUNE  # noqa: E402
from trainables.gan.config import STAGE as GAN  # noqa: E402
from trainables.critic.config import STAGE as CRITIC  # noqa: E402
from trainables.teach.config import STAGE as TEACH  # noqa: E402
# isort: on

STAGES = (PRETRAIN, FINETUNE, GAN, CRITIC, TEACH)
"""The paper's, in order; the critic, and what it teaches."""
