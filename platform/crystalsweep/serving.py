"""The name under which registered versions ask MLflow for their loader: it lasts, wherever the loader moves to."""

from crystalsweep.inference.serving import _load_pyfunc as _load_pyfunc
