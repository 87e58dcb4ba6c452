#!/bin/sh
# Makes the secret files that compose.yaml and the systemd units read. What is there already is kept.
#
#   deploy/make-secrets.sh [DIR] [DATABASE_HOST] [BROKER_HOST]
#
# DIR is deploy/secrets beside this file unless given. The hosts are postgres and valkey (the services of compose.yaml)
# unless given. The folder is closed to everybody else on this machine; the files in it are readable, because a container
# reads them under its own user. KEEP A COPY OF secret_key: without it nothing that is sealed in the database opens again.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
folder=${1:-$here/secrets}
database_host=${2:-postgres}
broker_host=${3:-valkey}

mkdir -p "$folder"
chmod 0700 "$folder"
umask 0077

random() {
    od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n'
}

# Writes standard input to the file, whole or not at all, unless the file is there.
keep() {
    if [ -e "$folder/$1" ]; then
        cat >/dev/null
        printf 'kept  %s\n' "$folder/$1"
        return
    fi
    cat >"$folder/.$1.draft"
    chmod 0444 "$folder/.$1.draft"
    mv "$folder/.$1.draft" "$folder/$1"
    printf 'made  %s\n' "$folder/$1"
}

random | keep secret_key
random | keep bridge_secret
random | keep postgres_password
random | keep valkey_password
keep database_url <<EOF
postgresql://whago:$(cat "$folder/postgres_password")@$database_host:5432/whago
EOF
keep broker_url <<EOF
redis://:$(cat "$folder/valkey_password")@$broker_host:6379/0
EOF
# The broker carries ticks and counts attempts: nothing in it outlives a restart, so it keeps nothing on disk.
keep valkey.conf <<EOF
requirepass $(cat "$folder/valkey_password")
save ""
appendonly no
maxmemory 256mb
maxmemory-policy noeviction
EOF
