#!/bin/sh
# A KME with a Brainpool certificate is reached over TLS 1.3 alone by OpenSSL 3.5, and not by Go.
#
# Version: OpenSSL 3.5.4 as in cryptography 46.0.3 (PyPI), by pyOpenSSL 25.3.0; Go's crypto/x509 and
#   crypto/tls (seen with go 1.26.8).
# The standards: ETSI GS QKD 014 V1.1.1, clause 5.1, takes TLS 1.2 and 1.3 and names no curve. The
#   Brainpool curves are in RFC 7027 for TLS 1.2 and in RFC 8734 for TLS 1.3.
# Seen: server and client of OpenSSL, default settings, the same certificate: brainpoolP256r1 works with
#   TLS 1.3 and fails with TLS 1.2, "no shared cipher", since these curves are not among the default
#   groups; P-256 works with both. Go cannot read the certificate at all.
# Output: P-256 TLSv1.2 ok, TLSv1.3 ok; brainpoolP256r1 TLSv1.2 no shared cipher, TLSv1.3 ok
#   go: x509: unsupported elliptic curve
# For a KMS: with such a certificate a client of TLS 1.2 gets no key, until the server's groups are set
#   to hold the curve; SAEs written in Go get none at all. Give the API that SAEs use a P-256 or P-384
#   certificate, and keep Brainpool for where both ends are known.
# Needs: python3, go, openssl.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cryptography==46.0.3 pyOpenSSL==25.3.0
make_certificate() {
  openssl req -x509 -newkey ec -pkeyopt "ec_paramgen_curve:$1" -nodes -days 2 -subj /CN=kme \
    -addext "subjectAltName=DNS:localhost" -keyout "$1.key" -out "$1.pem" 2> req.log
}
make_certificate P-256
make_certificate brainpoolP256r1
cat > shake.py <<'END'
from OpenSSL import SSL


def context(version):
    made = SSL.Context(SSL.TLS_METHOD)
    made.set_min_proto_version(version)
    made.set_max_proto_version(version)
    return made


def shake(name, version):
    server, client = context(version), context(version)
    server.use_certificate_file(f"{name}.pem")
    server.use_privatekey_file(f"{name}.key")
    client.load_verify_locations(f"{name}.pem")
    client.set_verify(SSL.VERIFY_PEER, lambda *rest: bool(rest[-1]))
    ends = [SSL.Connection(client), SSL.Connection(server)]
    ends[0].set_connect_state()
    ends[1].set_accept_state()
    for turn in range(8):
        here, there = ends[turn % 2], ends[1 - turn % 2]
        try:
            here.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            return error.args[0][-1][-1]
        try:
            there.bio_write(here.bio_read(65536))
        except SSL.WantReadError:
            pass
    return "ok"


for name in ("P-256", "brainpoolP256r1"):
    for text, version in (("TLSv1.2", SSL.TLS1_2_VERSION), ("TLSv1.3", SSL.TLS1_3_VERSION)):
        print(name, text, shake(name, version))
END
venv/bin/python shake.py > out
cat > go.mod <<'END'
module probe
go 1.21
END
cat > main.go <<'END'
package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
)

func main() {
	for _, name := range []string{"P-256", "brainpoolP256r1"} {
		text, _ := os.ReadFile(name + ".pem")
		block, _ := pem.Decode(text)
		_, err := x509.ParseCertificate(block.Bytes)
		fmt.Println(name, "go:", err)
	}
}
END
go run . >> out
cat out
cat > stated <<'END'
P-256 TLSv1.2 ok
P-256 TLSv1.3 ok
brainpoolP256r1 TLSv1.2 no shared cipher
brainpoolP256r1 TLSv1.3 ok
P-256 go: <nil>
brainpoolP256r1 go: x509: unsupported elliptic curve
END
if cmp -s out stated; then
  echo "as stated"
else
  echo "changed: it is no longer as stated" >&2
  exit 1
fi
