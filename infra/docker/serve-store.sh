#!/usr/bin/env bash
# An S3 server over the folder $DATA, whose folders are buckets. Makes the bucket $BUCKET. Secrets: see secret.sh.
set -euo pipefail
# shellcheck source=infra/docker/secret.sh
source "$(dirname "${BASH_SOURCE[0]}")/secret.sh"

data="${DATA:-/data}"
mkdir -p "$data/${BUCKET:-mlflow}"
# From the environment rclone reads a line of CSV, in which the pair of keys is one field.
access="$(secret store_access_key)"
hidden="$(secret store_secret_key)"
export RCLONE_AUTH_KEY="\"$access,$hidden\""
exec rclone --config /dev/null serve s3 --addr "${ADDRESS:-127.0.0.1:9000}" "$data"
