#!/bin/sh
# Makes the certificates of the tests of TLS: an authority, a certificate that it signed for
# localhost and 127.0.0.1, and the key of another one. They are valid for 100 years, and nothing but
# these tests trusts them.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"; }
key "$work/authority.key"
openssl req -x509 -new -key "$work/authority.key" -days 36500 -subj "/CN=affinis tests" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign" -out authority.pem
key key.pem
key other-key.pem
openssl req -new -key key.pem -subj "/CN=localhost" -out "$work/request.pem"
printf '%s\n' "basicConstraints=critical,CA:FALSE" "subjectAltName=DNS:localhost,IP:127.0.0.1" \
    "extendedKeyUsage=serverAuth" > "$work/extensions"
openssl x509 -req -in "$work/request.pem" -CA authority.pem -CAkey "$work/authority.key" -CAcreateserial \
    -CAserial "$work/serial" -days 36500 -extfile "$work/extensions" -out certificate.pem
