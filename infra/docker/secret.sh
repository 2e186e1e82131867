# shellcheck shell=bash
# Sourced: `secret NAME` prints the secret of that name, which is a file in $SECRETS, by default /run/secrets.

secret() {
    local file="${SECRETS:-/run/secrets}/$1"
    if [[ ! -s "$file" || ! -r "$file" ]]; then
        echo "no secret $1: $file is missing, empty or not readable for user $(id -u)" >&2
        return 1
    fi
    printf '%s' "$(<"$file")"
}
