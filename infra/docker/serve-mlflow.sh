#!/usr/bin/env bash
# MLflow's server, with authentication. Secrets are files (see secret.sh) and never arguments, which all users see.
#
# BACKEND_STORE     SQLAlchemy address without a password, such as postgresql+psycopg2://mlflow@postgres:5432/mlflow
# ARTIFACT_STORE    s3://bucket, or a folder
# ALLOWED_HOSTS     names that browsers and workers call the server by, port included
# HOST, PORT, WORKERS, ADMIN, DEFAULT_PERMISSION
set -euo pipefail
# shellcheck source=infra/docker/secret.sh
source "$(dirname "${BASH_SOURCE[0]}")/secret.sh"

: "${BACKEND_STORE:?the address of the database}" "${ARTIFACT_STORE:?where artifacts are kept}"

MLFLOW_AUTH_ADMIN_USERNAME="${ADMIN:-admin}"
MLFLOW_AUTH_ADMIN_PASSWORD="$(secret mlflow_admin_password)"
MLFLOW_FLASK_SERVER_SECRET_KEY="$(secret mlflow_session_key)"
export MLFLOW_AUTH_ADMIN_USERNAME MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY
if [[ "$BACKEND_STORE" == postgresql* ]]; then
    PGPASSWORD="$(secret postgres_password)" # libpq takes it from here, so that no address holds it
    export PGPASSWORD
fi
if [[ "$ARTIFACT_STORE" == s3://* ]]; then
    AWS_ACCESS_KEY_ID="$(secret store_access_key)"
    AWS_SECRET_ACCESS_KEY="$(secret store_secret_key)"
    export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
fi

MLFLOW_AUTH_CONFIG_PATH="$(mktemp)"
export MLFLOW_AUTH_CONFIG_PATH
cat > "$MLFLOW_AUTH_CONFIG_PATH" <<END
[mlflow]
default_permission = ${DEFAULT_PERMISSION:-READ}
database_uri = $BACKEND_STORE
END

exec mlflow server \
    --app-name basic-auth \
    --host "${HOST:-127.0.0.1}" --port "${PORT:-5000}" --workers "${WORKERS:-2}" \
    --allowed-hosts "${ALLOWED_HOSTS:-localhost:*,127.0.0.1:*}" \
    --backend-store-uri "$BACKEND_STORE" \
    --artifacts-destination "$ARTIFACT_STORE"
