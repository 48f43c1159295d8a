#!/bin/sh
# qkdsec (Python) puts SAE ids into the path as they are: ids that are URIs reach another path.
#
# Version: qkdsec 0.3.0 from PyPI.
# The standard: ETSI GS QKD 014 V1.1.1, table 3: {slave_SAE_ID} and {master_SAE_ID} are the URL-encoded
#   ids; an SAE ID is a string without further form. ETSI GS QKD 015 V2.1.1 names applications by URIs,
#   and ETSI GS QKD 004 V2.1.1 has URIs for source and destination.
# Seen: `/` in an id makes two segments of it, `?` and `#` end the path: the rest of the id, and the
#   name of the method, are gone. Blanks are encoded (by requests).
# Output: for app://site/sae-b: GET /api/v1/keys/app://site/sae-b/status
#   for sae?b: GET /api/v1/keys/sae?b/status; for sae#b: GET /api/v1/keys/sae
# For a KMS: such a client gets 404 or 400 and looks misconfigured. Choose ids of letters, digits and
#   `-._~`, or encode them before they are given to the client: with %2F in the path all is right.
# Needs: python3, openssl.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check qkdsec==0.3.0 requests==2.34.2
echo '{}' > answers.json
cat > probe.py <<'END'
import contextlib
import os

from qkdsec.client import ETSI014Client
from qkdsec.client.errors import KMEError

url = f"https://localhost:{os.environ['PORT']}"
with ETSI014Client(url, client_cert=("cert.pem", "key.pem"), verify="ca.pem") as client:
    for sae in ("app://site/sae-b", "sae?b", "sae#b", "app:%2F%2Fsite%2Fsae-b"):
        with contextlib.suppress(KMEError):
            client.status(sae)
END
python3 "$here/kme.py" . venv/bin/python probe.py
sed 's/ *$//' seen > out
cat out
cat > stated <<'END'
GET /api/v1/keys/app://site/sae-b/status
GET /api/v1/keys/sae?b/status
GET /api/v1/keys/sae
GET /api/v1/keys/app:%2F%2Fsite%2Fsae-b/status
END
if cmp -s out stated; then
  echo "as stated"
else
  echo "changed: the client no longer does as stated" >&2
  exit 1
fi
