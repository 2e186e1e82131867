#!/usr/bin/env bash
# Make the secrets that compose.yaml reads, each a file that only you can read. Those that are there stay as they are.
#
#   infra/docker/make-secrets.sh ~/.config/crystalsweep/secrets
set -euo pipefail
umask 077
folder="${1:?the folder to make them in, outside of the checkout}"
mkdir -p "$folder"
for name in postgres_password mlflow_admin_password mlflow_session_key store_access_key store_secret_key; do
    if [[ ! -s "$folder/$name" ]]; then
        od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$folder/$name"
    fi
done
echo "secrets are in $folder; sign in as admin with the content of $folder/mlflow_admin_password"
