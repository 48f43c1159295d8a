#!/bin/sh
# qkdsec's client (Python) has the slave name itself in dec_keys, and never asks for the default size.
#
# Version: qkdsec 0.3.0 from PyPI, `qkdsec.client.ETSI014Client`.
# The standard: ETSI GS QKD 014 V1.1.1, table 7: a slave SAE calls
#   /api/v1/keys/{master_SAE_ID}/dec_keys; its own id comes from its certificate (clause 5.1). Clause
#   6.2: `size` is optional, without it the key has `key_size` bits of the status.
# Seen: the argument of `get_dec_keys` is called slave_sae_id and documented as "the decrypting peer
#   (this client)"; it goes into the path as it is. `get_enc_keys` sends size=256 when the caller
#   gives no size, whatever the status says.
# Output: POST /api/v1/keys/sae-b/dec_keys (called by sae-b as documented)
#   GET /api/v1/keys/sae-b/enc_keys?number=1&size=256
# For a KMS: such a slave asks for keys whose master is the slave itself and gets 400: tell its owner
#   to pass the master's id. A KMS whose smallest key is longer than 256 bits, or whose longest is
#   shorter, refuses the simplest request of this client.
# Needs: python3, openssl.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check qkdsec==0.3.0 requests==2.34.2
cat > answers.json <<'END'
{"_keys": [200, {"keys": [{
   "key_ID": "bc490419-7d60-487f-adc1-4ddcc177c139", "key": "AAECAwQFBgcICQoLDA0ODw=="}]}]}
END
cat > probe.py <<'END'
import os

from qkdsec.client import ETSI014Client

url = f"https://localhost:{os.environ['PORT']}"
with ETSI014Client(url, client_cert=("cert.pem", "key.pem"), verify="ca.pem") as client:
    client.get_enc_keys("sae-b")
    client.get_dec_keys("sae-b", key_ids=["bc490419-7d60-487f-adc1-4ddcc177c139"])
text = " ".join(ETSI014Client.get_dec_keys_container.__doc__.split())
print("documented:", "decrypting peer (this client)" in text)
END
python3 "$here/kme.py" . venv/bin/python probe.py > out
cat out seen
if grep -qx "documented: True" out && grep -q "POST /api/v1/keys/sae-b/dec_keys" seen &&
  grep -qF "enc_keys?number=1&size=256" seen; then
  echo "as stated"
else
  echo "changed: the client no longer behaves as stated" >&2
  exit 1
fi
