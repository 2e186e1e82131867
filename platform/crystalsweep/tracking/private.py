"""What is used of MLflow beyond its documented interface; tests/test_private.py names each.

A server is asked whether it is there with a request that is not repeated for minutes, as the client repeats its own,
and with the client's credentials.
"""

from __future__ import annotations

from collections.abc import Mapping


def get(uri: str, path: str, *, retries: int, timeout: float, params: Mapping[str, int]) -> int:
    """Return the HTTP status that a server answers a GET request with.

    Args:
        uri: The server.
        path: From its root.
        retries: Times to try again.
        timeout: Seconds to wait for an answer.
        params: Of the query.

    Raises:
        MlflowException: It does not answer.
    """
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    answer = http_request(
        get_default_host_creds(uri),
        path,
        "GET",
        params=dict(params),
        max_retries=retries,
        timeout=timeout,
        raise_on_status=False,
    )
    return int(answer.status_code)


def is_serving() -> bool:
    """Return whether this process answers HTTP requests for `mlflow models serve`."""
    from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT

    return bool(_MLFLOW_IS_IN_SERVING_ENVIRONMENT.get())
