#!/usr/bin/env bash
# Certificates and keys for server.yml and node.yml, in ./keys. Needs openssl and ssh-keygen.
#
#   ./keys.sh server NAME...      on the server's machine: NAME is what nodes call it, a host name or an address
#   ./keys.sh node NODE CA.CRT    on each node's machine, with the server's keys/ca.crt; the private key stays there
set -euo pipefail
cd "$(dirname "$0")"
umask 077
DAYS=${DAYS:-365}
APP=49999 # the user of Flower's images

certificate() { # FOLDER NAMES: a certificate for these subject alternative names
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1/server.key" -out "$1/request" -subj "/CN=flower" 2>/dev/null
    openssl x509 -req -in "$1/request" -CA keys/ca.crt -CAkey keys/ca.key -CAcreateserial -days "$DAYS" -out "$1/server.pem" \
        -extfile <(echo "subjectAltName=$2") 2>/dev/null
    rm "$1/request"
    cp keys/ca.crt "$1/"
}

secret() { # FOLDER...: one secret that all of them share, by which a worker proves that it is ours
    openssl rand -hex 32 >"$1/superexec.secret"
    for folder in "${@:2}"; do cp "$1/superexec.secret" "$folder/"; done
}

names() { # NAME...: as openssl wants them
    for name in "$@"; do
        [[ $name =~ ^[0-9.]+$|: ]] && echo -n "IP:$name," || echo -n "DNS:$name,"
    done
}

owned() { # FOLDER...: by the user of Flower's images, who reads them there
    chown -R "$APP:$APP" "$@" 2>/dev/null || echo "run as root: chown -R $APP:$APP $*"
}

server() {
    mkdir -p keys/{superlink,worker,gateway} state runs
    [[ -e keys/ca.key ]] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout keys/ca.key -out keys/ca.crt \
        -days "$DAYS" -subj "/CN=federation" 2>/dev/null
    certificate keys/superlink "DNS:superlink,DNS:localhost,IP:127.0.0.1"
    local public
    public=$(names "$@")
    certificate keys/gateway "${public%,}"
    secret keys/superlink keys/worker
    cp keys/ca.crt keys/worker/
    owned keys/superlink keys/worker state runs
    echo "made keys/superlink, keys/worker, keys/gateway; give keys/ca.crt to every node, and keys/ca.key to nobody"
}

node() {
    mkdir -p "keys/$1" "keys/$1-worker" data
    [[ -e keys/$1/node ]] || ssh-keygen -q -t ecdsa -b 384 -N "" -C "$1" -f "keys/$1/node"
    cp "$2" "keys/$1/ca.crt"
    secret "keys/$1" "keys/$1-worker"
    owned "keys/$1" "keys/$1-worker"
    echo "made keys/$1; give keys/$1/node.pub to the operator, who registers it: flwr supernode register node.pub production"
}

case "${1-} $#" in
    "server "[2-9]*) server "${@:2}" ;;
    "node 3") node "${@:2}" ;;
    *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
